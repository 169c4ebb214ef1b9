"""Workers: where units of work run."""
