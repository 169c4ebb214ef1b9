"""Work of a run: what is wanted, what is there, and what is missing."""
