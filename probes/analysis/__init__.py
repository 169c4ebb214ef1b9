"""Measure the stored features themselves, without a probe."""
