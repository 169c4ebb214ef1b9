"""Store -> probe -> results: cells are fitted, committed, and scored again."""
