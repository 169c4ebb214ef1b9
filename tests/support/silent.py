"""Reporters for tests that do not look at what is told."""

from __future__ import annotations

from typing import Any


class Silent:
    """A reporter that says nothing and remembers everything."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def tell(self, event: Any) -> None:
        self.events.append(event)
