"""The live view as text: a grid of models and datasets, with bars and rates below it. Pure.

It never has more lines or columns than it is given: names are shortened, then numbered. Where not everything fits,
finished models and datasets are left out first. rich draws the grid and the bars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.reporting.stage_state import StageState
from featurestore.plain_text import counted, duration

_MOST_NODES = 3
_LONGEST_LABEL = 20
_NAMED_COLUMN = 9  # characters that a name needs at least to be recognised, and a gap
_NUMBERED_COLUMN = 3
_LEGEND_ENTRY = 25
_WIDEST_BAR = 40
_NARROWEST = 30
_CORNER = "% done"


@dataclass(frozen=True)
class _Marks:
    done: str
    failed: str
    nothing: str
    cut: str


_MARKS = _Marks("✓", "✗", "·", "…")
_PLAIN_MARKS = _Marks("ok", "x", ".", "~")


def view(states: Sequence[StageState], now: float, width: int, height: int, *, plain: bool = False) -> Text:
    """Return the view of the stages that are not over, in at most `width` columns and `height` - 1 lines.

    The grid is that of the first stage that has something to do.

    Parameters
    ----------
    states : sequence of StageState
        Stages that are not over.
    now : float
        Time in seconds, on the clock of `states`.
    width, height : int
        Size of the terminal, in characters.
    plain : bool
        Whether the view may have ASCII characters only.
    """
    if not states:
        return Text()
    marks = _PLAIN_MARKS if plain else _MARKS
    below = [line for state in states for line in _lines_of(state, now, width, plain=plain)]
    unfinished = next((state for state in states if state.handled < state.total), states[-1])
    grid = _Grid(unfinished, width - 1, height - 1 - max(len(below), 3), marks).lines()
    lines = [*grid, *below][: height - 1]
    for line in lines:
        line.truncate(width - 1)
    return Text("\n").join(lines)


class _Grid:
    """A grid with datasets as rows and models as columns, or the other way round if there are fewer models."""

    def __init__(self, state: StageState, width: int, height: int, marks: _Marks) -> None:
        self._state = state
        self._shares = state.shares()
        self._width = width
        self._height = height
        self._marks = marks
        models = list(dict.fromkeys(model for model, _ in self._shares))
        datasets = list(dict.fromkeys(dataset for _, dataset in self._shares))
        self._turned = len(models) < len(datasets)
        self._kinds = ("models", "datasets") if self._turned else ("datasets", "models")
        self._rows, self._columns = (models, datasets) if self._turned else (datasets, models)

    def lines(self) -> list[Text]:
        if not self._shares or self._height < 3 or self._width < _NARROWEST:
            return []
        label = min(_LONGEST_LABEL, max(len(_CORNER), *map(len, self._rows)))
        room = self._width - label
        longest = max(map(len, self._columns))
        each = min(room // len(self._columns), longest + 2)
        heads = [_cut(name, each - 1, self._marks) for name in self._columns]
        if each >= min(_NAMED_COLUMN, longest + 1) and len(set(heads)) == len(heads):
            return self._table(label, each, dict(zip(self._columns, heads, strict=True)), self._height)
        return self._numbered(label, room // _NUMBERED_COLUMN)

    def _numbered(self, label: int, most: int) -> list[Text]:
        """Draw columns under numbers, which a legend below explains."""
        for_legend = max(self._height // 3, self._height - 2 - len(self._rows))
        entry = min(self._width, max(map(len, self._columns)) + 5)
        if self._width // entry * for_legend < len(self._columns):
            entry = min(entry, _LEGEND_ENTRY)
        in_line = self._width // entry
        columns, hidden = self._chosen(self._columns, min(most, for_legend * in_line), self._column_is_done)
        heads = {name: str(number) for number, name in enumerate(columns, start=1)}
        entries = [_cut(f"{number} {name}", entry - 2, self._marks).ljust(entry) for name, number in heads.items()]
        lines = ["".join(entries[start : start + in_line]).rstrip() for start in range(0, len(entries), in_line)]
        if hidden:
            lines.append(f"and {hidden} more {self._kinds[1]}")
        legend = [Text(line, style="dim") for line in lines]
        return [*self._table(label, _NUMBERED_COLUMN, heads, self._height - len(legend)), *legend]

    def _table(self, label: int, each: int, heads: dict[str, str], height: int) -> list[Text]:
        """Draw as many rows as fit under the heads."""
        rows, hidden = self._chosen(self._rows, height - 1, self._row_is_done, keep_line=True)
        table = Table(box=None, padding=0, collapse_padding=True, header_style="bold", pad_edge=False)
        table.add_column(_CORNER, width=label, no_wrap=True)
        for head in heads.values():
            table.add_column(Text(head), width=each, justify="right", no_wrap=True)
        for row in rows:
            cells = [Text(*self._cell(row, column)) for column in heads]
            table.add_row(Text(_cut(row, label, self._marks)), *cells)
        more = [Text(f"and {hidden} more {self._kinds[0]}", style="dim")] if hidden else []
        return [*_drawn(table, label + each * len(heads)), *more]

    def _chosen(
        self, names: Sequence[str], most: int, is_done: Callable[[str], bool], *, keep_line: bool = False
    ) -> tuple[list[str], int]:
        """Return at most `most` names in their order, and how many are left out: finished ones before others."""
        if len(names) <= most:
            return list(names), 0
        most = max(1, most - keep_line)
        kept = set(sorted(names, key=is_done)[:most])
        return [name for name in names if name in kept], len(names) - most

    def _row_is_done(self, row: str) -> bool:
        return all(self._share(row, column) in (None, 1.0) for column in self._columns)

    def _column_is_done(self, column: str) -> bool:
        return all(self._share(row, column) in (None, 1.0) for row in self._rows)

    def _share(self, row: str, column: str) -> float | None:
        return self._shares.get((row, column) if self._turned else (column, row))

    def _cell(self, row: str, column: str) -> tuple[str, str]:
        model, dataset = (row, column) if self._turned else (column, row)
        share = self._share(row, column)
        if self._state.has_failed(model, dataset):
            return self._marks.failed, "red"
        if share is None:
            return "", ""
        if share >= 1:
            return self._marks.done, "green"
        return (f"{int(100 * share)}", "") if share else (self._marks.nothing, "dim")


def _lines_of(state: StageState, now: float, width: int, *, plain: bool) -> list[Text]:
    return [_bar_line(state, width, plain=plain), *_rate_lines(state, now, width)]


def _bar_line(state: StageState, width: int, *, plain: bool) -> Text:
    share = state.handled / state.total if state.total else 1.0
    head = f"{state.name} "
    tail = f" {int(100 * share)}%  {state.handled:,} of {state.total:,} {state.unit}"
    length = max(0, min(_WIDEST_BAR, width - 1 - len(head) - len(tail)))
    bar = ProgressBar(total=state.total or 1, completed=state.handled, width=length, finished_style="green")
    (drawn,) = _drawn(bar, length, ascii_only=plain) if length else (Text(),)
    return Text.assemble((head, "bold"), drawn, (tail, ""))


def _rate_lines(state: StageState, now: float, width: int) -> list[Text]:
    rate, left = state.rate(now), state.seconds_left(now)
    lines = []
    if state.handled >= state.total:
        lines.append(Text(f"done after {duration(now - state.begun)}, {nodes_text(state.nodes(now), width - 30)}"))
    elif rate is None or left is None:
        what = "measuring" if state.handled else "waiting for the first result"
        lines.append(Text(f"{what}, {duration(now - state.begun)} so far", style="dim"))
    else:
        known = f"{number(rate)}/s, about {duration(left)} left, "
        lines.append(Text.assemble((known, "cyan"), nodes_text(state.nodes(now), width - 1 - len(known))))
    troubles = [f"{state.failures} failed"] if state.failures else []
    troubles += [f"{state.retries} tried again after a worker was lost"] if state.retries else []
    return [*lines, Text(", ".join(troubles), style="red")] if troubles else lines


def _drawn(what: RenderableType, width: int, *, ascii_only: bool = False) -> list[Text]:
    """Let rich draw, and return the lines with their styles."""
    encoding = "ascii" if ascii_only else "utf-8"
    file = _Encoded(encoding)
    console = Console(width=width, file=file, force_terminal=True, color_system="truecolor", legacy_windows=False)
    with console.capture() as capture:
        console.print(what, end="")
    lines = [Text.from_ansi(line) for line in capture.get().splitlines()]
    for line in lines:
        line.rstrip()
    return lines


class _Encoded(StringIO):
    """A file in memory with an encoding, which tells rich which characters it may draw."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def nodes_text(nodes: Sequence[tuple[str, float]], width: int | None = None) -> str:
    """Name the fastest nodes with their rates, as many as fit, and say how many there are."""
    count = counted(len(nodes), "node")
    for shown in range(min(_MOST_NODES, len(nodes)), 0, -1):
        more = f" and {len(nodes) - shown} more" if shown < len(nodes) else ""
        text = f"{count}: {', '.join(f'{name} {number(rate)}/s' for name, rate in nodes[:shown])}{more}"
        if width is None or len(text) <= width:
            return text
    return count


def number(value: float) -> str:
    """Write a number with three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cut(name: str, length: int, marks: _Marks) -> str:
    """Shorten a name to at most `length` characters; its end often says more than its middle."""
    if len(name) <= length:
        return name
    head = length // 2
    return name[:head] + marks.cut + name[len(name) - (length - 1 - head) :]
