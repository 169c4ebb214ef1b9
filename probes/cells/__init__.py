"""Store -> probe -> results: fit cells, commit their results, and add metrics to them."""
