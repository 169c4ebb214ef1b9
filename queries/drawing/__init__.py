"""Answers -> charts and figures."""
