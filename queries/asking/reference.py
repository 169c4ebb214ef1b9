"""The list of questions in queries/README.md, written from the headers of the .sql files: ``make reference``."""

from __future__ import annotations

from pathlib import Path

from queries.asking import questions
from queries.asking.questions import TOPICS, Question

README = Path(__file__).parents[1] / "README.md"

_START, _END = "<!-- questions: written by `make reference` -->", "<!-- end of questions -->"


def with_questions(text: str) -> str:
    """Return the text of the README with the list between its two marks made anew.

    Raises
    ------
    ValueError
        If the two marks are not there.
    """
    before, start, rest = text.partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        raise ValueError(f"{README.name} must hold the lines {_START!r} and {_END!r}. Put the list between them.")
    return f"{before}{_START}\n{_listed()}{_END}{after}"


def _listed() -> str:
    asked = questions.by_topic()
    return "".join(
        f"\n### {topic.capitalize()}\n\n" + "".join(_entry(question) for question in asked if question.topic == topic)
        for topic in TOPICS
    )


def _entry(question: Question) -> str:
    """Return one question as an entry of a list."""
    parameters = ", ".join(f"`{parameter.name} = {parameter.default}`" for parameter in question.parameters)
    columns = ", ".join(f"`{name}`" for name in question.columns)
    path = question.path.relative_to(README.parent).as_posix()
    return (
        f"- [`{question.name}`]({path}): {question.text} {question.grain.capitalize().removesuffix('.')}.\n"
        + (f"  - parameters: {parameters}\n" if parameters else "")
        + f"  - columns: {columns}\n"
    )


if __name__ == "__main__":
    README.write_text(with_questions(README.read_text(encoding="utf-8")), encoding="utf-8")
