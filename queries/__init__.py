"""Scores become findings: questions in SQL, charts, and the report. Importing this package loads none of them."""

from queries.asking.questions import Parameter, Question, describe, names

__all__ = ["Parameter", "Question", "describe", "names"]
