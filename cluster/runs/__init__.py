"""Whole runs: a study, probes on what is stored, an analysis, a plan, a deep check."""
