"""Rows as text: a table for people, Markdown to paste, csv and json for programs."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasnn.errors import ConfigError, unknown

WIDTH = 80  # Of a table that goes to a file or a pipe.

FORMS = ("table", "csv", "json", "markdown")


@dataclass(frozen=True)
class Column:
    """How people see one value of each row.

    Args:
        heading: above it.
        write: makes text of a value; a value that is None is written as a dash.
        text: words stand to the left, numbers to the right.
        fold: its words may take several lines where the table would be too wide.
    """

    heading: str
    write: Callable[[Any], str] = str
    text: bool = False
    fold: bool = False

    def cell(self, value: Any) -> str:
        """The value as text."""
        return "–" if value is None else self.write(value)


Columns = Mapping[str, Column]


def check_form(form: str) -> None:
    """Raises ConfigError, with the nearest, for a form that does not exist."""
    if form not in FORMS:
        raise ConfigError(unknown("--format", form, FORMS))


def render(form: str, rows: Sequence[dict], columns: Columns, style: Callable[[dict], str] = lambda row: "") -> str:
    """The rows in one of `FORMS`.

    Args:
        form: csv and json carry every value of every row as it is; table and markdown the columns, as people read them.
        rows: at least one, all with the same keys.
        columns: which keys people see, in order. A column may be written from the whole row: its `write` then gets the
            row, if the row has no such key.
        style: rich's style of a row of the table, such as "bold".
    """
    if form == "csv":
        return _csv(rows)
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    cells = [[column.cell(row.get(key, row)) for key, column in columns.items()] for row in rows]
    return _table(cells, columns, [style(row) for row in rows]) if form == "table" else _markdown(cells, columns)


def human(value: float) -> str:
    """A number in three figures or so: 61.7k, 138.4M, 0.42G.

    Example:
        >>> human(61_706), human(138_357_544), human(420_000_000)
        ('61.7k', '138.4M', '0.42G')
    """
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.1f}{letter}"
        if unit > 1e6 and abs(value) >= 0.4 * unit:
            return f"{value / unit:.2f}{letter}"
    return f"{value:.0f}" if abs(value) >= 10 or float(value).is_integer() else f"{value:.2g}"


def _table(cells: list[list[str]], columns: Columns, styles: list[str]) -> str:
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in columns.values():
        table.add_column(
            column.heading,
            justify="left" if column.text else "right",
            overflow="fold" if column.fold else "ellipsis",
            no_wrap=not column.fold,
        )
    for line, style in zip(cells, styles, strict=True):
        table.add_row(*map(Text, line), style=style)
    width = Console().width if terminal else WIDTH
    console = Console(file=StringIO(), width=max(width, WIDTH), force_terminal=terminal)
    console.print(table)
    lines = console.file.getvalue().split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def _csv(rows: Sequence[dict]) -> str:
    import csv
    from io import StringIO

    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(cells: list[list[str]], columns: Columns) -> str:
    rule = ["---" if column.text else "---:" for column in columns.values()]
    escaped = [[text.replace("|", "\\|") for text in line] for line in cells]
    lines = [[column.heading for column in columns.values()], rule, *escaped]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
