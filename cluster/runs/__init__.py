"""Whole runs: of a study, of what a store holds, a plan, a deep check."""
