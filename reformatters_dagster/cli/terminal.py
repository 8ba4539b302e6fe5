"""What goes to a terminal: answers and tables on stdout; logs on stderr.

In: a JSON document, rows of a table, log lines. Out: text. Nothing heavy is imported here, since every `--help` imports
this module.
"""

import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

if TYPE_CHECKING:
    from reformatters_dagster.core.spec.values import JSON

PIPED_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""
LEAST_WIDTH = 16
"""Least width of a column whose texts wrap: a time fits."""

STDERR = Console(stderr=True, markup=False, emoji=False, highlight=False)
"""Shared by log lines and progress, so that neither breaks the other."""


def tell[Document: JSON | list[JSON]](
    document: Document, for_people: Callable[[Document], None], as_json: bool
) -> None:
    """Write a command's answer to stdout: one JSON document and nothing else, or text for people."""
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        for_people(document)


@contextmanager
def logging_to_stderr(verbose: bool) -> Iterator[None]:
    """Log to stderr: from INFO on, but on a terminal, unless `verbose`, from WARNING on, beside the line of progress."""
    handler: logging.Handler
    if STDERR.is_terminal:
        handler = RichHandler(console=STDERR, show_path=False)
    else:
        handler = logging.StreamHandler()
        formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.WARNING if STDERR.is_terminal and not verbose else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def errors_alone() -> Iterator[None]:
    """Log errors only: the command itself tells what it does."""
    levels = {handler: handler.level for handler in logging.getLogger().handlers}
    try:
        for handler in levels:
            handler.setLevel(logging.ERROR)
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


def columns_of() -> int:
    """How wide stdout is: the terminal, or `PIPED_WIDTH`."""
    console = Console()
    return console.width if console.is_terminal else PIPED_WIDTH


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    wrapping: Collection[str] = (),
    right: Collection[str] = (),
) -> None:
    """Print a table.

    Parameters
    ----------
    headers, rows
        An int is written with commas; None is left empty.
    wrapping : names
        Columns that may wrap. Every other column keeps its texts whole.
    right : names
        Columns aligned to the right, besides those with an int.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = columns_of()
    cells = [["" if one is None else f"{one:,}" if isinstance(one, int) else str(one) for one in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [_width(texts) for texts in columns]
    least = [
        min(width, LEAST_WIDTH) if header in wrapping else width for header, width in zip(headers, widths, strict=True)
    ]
    is_tight = sum(least) + 3 * (len(headers) - 1) + 2 > console.width
    console.width = max(console.width, sum(least) + len(headers) + 1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if is_tight else 1))
    for position, header in enumerate(headers):
        is_number = header in right or any(isinstance(row[position], int) for row in rows)
        table.add_column(
            header,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=header not in wrapping,
            min_width=least[position],
        )
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _width(texts: Sequence[str]) -> int:
    return max(len(line) for text in texts for line in text.split("\n"))
