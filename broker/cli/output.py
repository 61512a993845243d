"""Prints the results of commands: JSON for scripts, or a table for people. Both come from the same values.

Nothing is cut: on a terminal, long cells are wrapped; with `--wide`, and where standard output is a file or a
pipe, every row is as long as it needs to be.
"""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
WideOption: TypeAlias = Annotated[
    bool, typer.Option("--wide", help="Do not wrap the table to the width of the terminal.")
]
_UNLIMITED = 100_000
_WHOLE_ID = 36
"""The first column is not wrapped up to this width: the length of a UUID."""


def console(*, wide: bool = False) -> Console:
    """A console for standard output: as wide as the terminal, or without limit."""
    if wide or not sys.stdout.isatty():
        return Console(width=_UNLIMITED)
    return Console()


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table_of(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose cells are wrapped where they are too long, also within a word, and never cut."""
    width = len(rows[0]) if rows else len(headers)
    titles = list(headers) or [""] * width
    longest = max((len(line) for row in rows for line in row[0].splitlines()), default=0)
    columns = [
        Column(
            title.replace("_", " "), overflow="fold", min_width=min(longest, _WHOLE_ID) if n == 0 else None
        )
        for n, title in enumerate(titles)
    ]
    table = Table(*columns, show_header=bool(headers))
    for row in rows:
        table.add_row(*(escape(text) for text in row))
    return table
