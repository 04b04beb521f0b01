"""The output of commands: tables and colour for people, JSON for programs. No text of others rules the terminal."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import typer

GAP = "  "
NONE = "–"
LEAST_WIDTH = 8
"""The width under which no column is cut."""
SPANS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class Column(NamedTuple):
    """A column of a table. A `flexible` one is cut where the terminal is too narrow."""

    name: str
    right: bool = False
    flexible: bool = False


def is_terminal() -> bool:
    """Return whether a person reads standard output on a terminal that can do more than print lines."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, **style: Any) -> str:
    """Return the text in a style, on a terminal alone and not where NO_COLOR is set."""
    return typer.style(text, **style) if is_terminal() and not os.environ.get("NO_COLOR") else text


def plain(text: str) -> str:
    """Return the text in one line that moves no cursor and sets no colour: names are chosen by other people."""
    return "".join(char if char.isprintable() else "�" for char in text)


def echo_json(document: Any, *, one_line: bool = False) -> None:
    """Print a document as JSON. What JSON has no number for, NaN and infinity, is null."""
    import orjson

    typer.echo(orjson.dumps(document, option=0 if one_line else orjson.OPT_INDENT_2))


def echo_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, with its columns aligned and on a terminal none wider than it."""
    for line in table(columns, rows, shutil.get_terminal_size().columns if is_terminal() else None):
        typer.echo(line)


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], most: int | None) -> Iterator[str]:
    """Yield the lines of a table, its head first; `most` is their largest width."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = _fitted(
        columns, [max(map(_width, each)) for each in zip([c.name for c in columns], *cells, strict=True)], most
    )
    yield styled(_line(columns, [column.name for column in columns], widths, most), bold=True)
    for row in cells:
        yield _line(columns, row, widths, most)


def _fitted(columns: Sequence[Column], widths: list[int], most: int | None) -> list[int]:
    """Return the widths of the columns, the widest flexible ones narrowed until the table fits."""
    excess = 0 if most is None else sum(widths) + len(GAP) * (len(widths) - 1) - most
    flexible = [at for at, column in enumerate(columns) if column.flexible]
    for _ in range(max(0, excess)):
        widest = max(flexible, key=lambda at: widths[at], default=None)
        if widest is None or widths[widest] <= LEAST_WIDTH:
            break
        widths[widest] -= 1
    return widths


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], most: int | None) -> str:
    parts = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        text = cut(cell, width)
        space = " " * (width - _width(text))
        parts.append(space + text if column.right else text + space)
    line = GAP.join(parts).rstrip()
    return line if most is None else cut(line, most)


def cut(text: str, width: int) -> str:
    """Return the text in at most so many cells of the terminal, with an ellipsis where some is left out."""
    from rich.cells import set_cell_size

    return text if _width(text) <= width else set_cell_size(text, width - 1) + "…"


def _width(text: str) -> int:
    from rich.cells import cell_len

    return len(text) if text.isascii() else cell_len(text)


def number(value: float | None) -> str:
    """Return a number as people read it, in four digits."""
    return NONE if value is None else f"{value:.4g}"


def shown(value: Any) -> str:
    """Return a setting's value as people type it: JSON, but a text without its quotes."""
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def size(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    from rich.filesize import decimal

    return NONE if count is None else decimal(count)


def instant(moment: datetime) -> str:
    """Return a moment in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def ago(moment: datetime) -> str:
    """Return the time since a moment, in one unit."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    unit, length = next((span for span in SPANS if seconds >= span[1]), SPANS[-1])
    return f"{seconds // length} {unit} ago"
