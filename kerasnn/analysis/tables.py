"""The rows of a comparison as text: a table for people, Markdown to paste, csv and json for programs."""

import json
import sys
from collections.abc import Callable, Sequence

WIDTH = 80  # Of a table that goes to a file or a pipe.


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


SHOWN = {
    "name": ("run", lambda value: value.removeprefix("model=")),
    "data": ("data", str),
    "params": ("params", human),
    "flops": ("FLOPs", human),
    "val_accuracy": ("val", lambda value: f"{value:.4f}"),
    "test_accuracy": ("test", lambda value: f"{value:.4f}"),
    "train_seconds": ("secs", lambda value: f"{value:.0f}" if value >= 10 else f"{value:.1f}"),
    "examples_per_second": ("ex/s", human),
    "run_id": ("id", lambda value: value[:7]),
}
"""The columns of the table for people, their headings (`val`, `test`: accuracy) and how a value is written there."""

TEXTS = ("name", "data", "run_id")

ENDINGS = {"RUNNING": "running", "SCHEDULED": "waiting", "FAILED": "failed", "KILLED": "killed"}


def _cells(row: dict) -> list[str]:
    """The row as people read it: the model beside a name that does not tell it, and how the run ended if not well."""
    texts = [write(row[column]) if row[column] is not None else "–" for column, (_, write) in SHOWN.items()]
    if row["model"] and row["model"] not in texts[0]:
        texts[0] += f" [{row['model']}]"
    if row["status"] in ENDINGS:
        texts[0] += f" ({ENDINGS[row['status']]})"
    return texts


def _table(rows: Sequence[dict]) -> str:
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    best = max((row["test_accuracy"] for row in rows if row["test_accuracy"] is not None), default=None)
    for column, (heading, _) in SHOWN.items():
        text = column in TEXTS
        fold = "fold" if column == "name" else "ellipsis"
        table.add_column(heading, justify="left" if text else "right", overflow=fold, no_wrap=column != "name")
    for row in rows:
        style = "dim" if row["status"] in ENDINGS else "bold" if row["test_accuracy"] == best is not None else ""
        table.add_row(*(Text(text) for text in _cells(row)), style=style)
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


def _json(rows: Sequence[dict]) -> str:
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _markdown(rows: Sequence[dict]) -> str:
    cells = [[heading for heading, _ in SHOWN.values()]] + [
        [text.replace("|", "\\|") for text in _cells(row)] for row in rows
    ]
    rule = ["---" if column in TEXTS else "---:" for column in SHOWN]
    lines = [cells[0], rule, *cells[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


RENDER: dict[str, Callable[[Sequence[dict]], str]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
    "markdown": _markdown,
}
"""Each form of output by its name: rows, of which there is at least one, to text."""
