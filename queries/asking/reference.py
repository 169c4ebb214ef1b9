"""The list of questions in queries/README.md, written from the headers of the .sql files: ``make reference``."""

from __future__ import annotations

from pathlib import Path

from featurestore import readme_parts
from queries.asking import questions
from queries.asking.questions import TOPICS, Question

README = Path(__file__).parents[1] / "README.md"


def parts() -> dict[str, str]:
    """Return the parts of the README: name -> Markdown."""
    return {"questions": _listed()}


def _listed() -> str:
    asked = questions.by_topic()
    listed = "".join(
        f"\n### {topic.capitalize()}\n\n" + "".join(_entry(question) for question in asked if question.topic == topic)
        for topic in TOPICS
    )
    return listed.removesuffix("\n")


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
    readme_parts.write(README, parts())
