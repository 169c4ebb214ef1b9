"""Scores -> findings: questions in SQL, charts, and the report. Importing this package loads none of it."""

from queries.asking.questions import Parameter, Question, describe, names

__all__ = ["Parameter", "Question", "describe", "names"]
