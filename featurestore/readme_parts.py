"""Parts of a README file that are made from the code. Each part stands between two comments:

<!-- probes: written by `make reference` -->
<!-- end of probes -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def filled(text: str, parts: Mapping[str, str]) -> str:
    """Replace the parts of a README, by name, with what the code makes of them now.

    Raises
    ------
    ValueError
        If the README does not have the two comments of a part.
    """
    for name, content in parts.items():
        found = re.findall(rf"<!-- {name}: .*? -->\n.*?<!-- end of {name} -->", text, flags=re.DOTALL)
        if len(found) != 1:
            raise ValueError(f"The README must have the two comments of the part {name!r} once. Got {len(found)}.")
        opening = found[0].split("\n", 1)[0]
        text = text.replace(found[0], f"{opening}\n{content}\n<!-- end of {name} -->")
    return text


def write(readme: Path, parts: Mapping[str, str]) -> None:
    """Write the parts of a README file anew.

    Raises
    ------
    ValueError
        If the file does not have the two comments of a part.
    """
    readme.write_text(filled(readme.read_text(encoding="utf-8"), parts), encoding="utf-8")
