"""Prints the results of commands: JSON for scripts, or a table for people. Both come from the same values.

Nothing is cut: on a terminal, long cells are wrapped; with `--wide`, and where standard output is a file or a
pipe, every row is as long as it needs to be.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from broker.model.wording import count_of

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
WideOption: TypeAlias = Annotated[
    bool, typer.Option("--wide", help="Do not wrap the table to the width of the terminal.")
]
_UNLIMITED = 100_000


class DataclassValue(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def console(*, wide: bool = False) -> Console:
    """A console for standard output: as wide as the terminal, or without limit."""
    if wide or not sys.stdout.isatty():
        return Console(width=_UNLIMITED)
    return Console()


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_rows(
    rows: Sequence[DataclassValue],
    row_type: type,
    noun: str,
    *,
    as_json: bool,
    wide: bool,
    plural: str = "",
) -> None:
    """A list of values: JSON objects, or rows of a table. Their members are the fields of `row_type`."""
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    names = [field.name for field in dataclasses.fields(row_type)]
    output = console(wide=wide)
    if not rows:
        output.print(f"0 {plural or f'{noun}s'}")
        return
    titles = [label(name) for name in names]
    print_table(output, titles, [[cell(getattr(row, name)) for name in names] for row in rows])
    output.print(count_of(len(rows), noun, plural))


def print_record(record: DataclassValue, *, as_json: bool, wide: bool, json_only: str = "") -> None:
    """One value: a JSON object, or a table of its fields without that named `json_only`."""
    members = dataclasses.asdict(record)
    if as_json:
        print_json(members)
        return
    rows = [[label(name), cell(member)] for name, member in members.items() if name != json_only]
    print_table(console(wide=wide), (), rows)


def label(name: str) -> str:
    """The name of a field as the title of a column or row."""
    return name.replace("_", " ")


def cell(value: Any) -> str:
    """The text of a value in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "\n".join(cell(each) for each in value)
    return str(value)


def print_table(output: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table whose cells are wrapped where they are too long, also within a word, and never cut. The
    first column, which has the id, is wrapped last.
    """
    titles = list(headers) or [""] * len(rows[0])
    longest = max((len(line) for row in rows for line in row[0].splitlines()), default=0)
    is_id_whole = longest <= output.width // 2
    columns = [
        Column(title, overflow="fold", no_wrap=is_id_whole and position == 0)
        for position, title in enumerate(titles)
    ]
    table = Table(*columns, show_header=bool(headers))
    for row in rows:
        table.add_row(*(escape(text) for text in row))
    output.print(table)
