"""`mappings`: checks, tries, lists, documents and imports the mappings of device payloads, without a broker.

The mappings are those that a broker with the same BROKER_MAPPINGS_DIR uses.
"""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from broker.cli import mapping_check, mapping_import
from broker.cli.mapping_values import (
    MappingListRow,
    ProblemRow,
    TypeRow,
    reading_of,
)
from broker.cli.output import JsonOption, WideOption, print_rows
from broker.clock import SystemClock
from broker.errors import ConfigurationError
from broker.mapping.decoders.csv_lines import decode_line, split_lines
from broker.mapping.decoders.gatt import decode_characteristic
from broker.mapping.decoders.undecodable import Undecodable
from broker.mapping.document import rows_of, to_csv, to_html, to_markdown
from broker.mapping.examples import example, example_names
from broker.mapping.mapping_set import MappingSet, load_mappings
from broker.mapping.payloads import PayloadError, encode_json, parse_payload
from broker.mapping.reading import MappedReading, ReadingProblem
from broker.settings import Settings

app = typer.Typer(
    help="Check, try, list, document and import the mappings of device payloads.\n\n"
    "Example:\n\n    fhir-broker mappings list",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
FolderOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--folder", help="A folder of mapping files. Default: BROKER_MAPPINGS_DIR."),
]


class DocumentFormat(StrEnum):
    """The forms of the mapping document."""

    HTML = "html"
    MARKDOWN = "markdown"
    CSV = "csv"


def _load(folder: Path | None) -> MappingSet:
    return load_mappings(folder or Settings.from_environment(os.environ).mappings_dir)


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)


@app.command("list")
def list_(
    folder: FolderOption = None,
    *,
    types: Annotated[
        bool, typer.Option("--types", help="List the reading types that a mapping can name instead.")
    ] = False,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List the mappings that a broker uses: those that ship and those of your folder.

    Examples:

        fhir-broker mappings list

        fhir-broker mappings list --types
    """
    if types:
        print_rows(TypeRow.all(), TypeRow, "reading type", as_json=as_json, wide=wide)
        return
    rows = [
        MappingListRow.of(mapping) for mapping in sorted(_load(folder).mappings, key=lambda each: each.name)
    ]
    print_rows(rows, MappingListRow, "mapping", as_json=as_json, wide=wide)


app.command("check")(mapping_check.check)


@app.command("test")
def try_payload(
    payload: Annotated[
        str, typer.Argument(metavar="[PAYLOAD]", help="A file with a payload; - is standard input.")
    ] = "",
    *,
    mapping: Annotated[
        str, typer.Option("--mapping", help="The mapping to use. Default: the one that matches.")
    ] = "",
    example_name: Annotated[
        str, typer.Option("--example", help="Use the example payload of this shipped mapping.")
    ] = "",
    form: Annotated[
        str, typer.Option("--format", help="json, csv, or gatt: and the number of a characteristic.")
    ] = "json",
    device: Annotated[str, typer.Option("--device", help="The device of a gatt value: system|value.")] = "",
    patient: Annotated[
        str, typer.Option("--patient", help="The patient of a gatt value: system|value.")
    ] = "",
    folder: FolderOption = None,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show the Observations that a payload becomes, and what cannot be mapped. Nothing is sent or stored.

    Exit code 0 if all of the payload was mapped, 1 if not, 2 if it cannot be read.

    Examples:

        fhir-broker mappings test --example thermometer

        fhir-broker mappings test reading.json --mapping scale

        fhir-broker mappings test value.bin --format gatt:2A37 --device 'http://example.org/devices|1'
    """
    mappings = _load(folder)
    if mapping and mappings.find(mapping) is None:
        raise ConfigurationError(f"There is no mapping {mapping}. Run `fhir-broker mappings list`.")
    try:
        values = _decode(_content(payload, example_name), form, device, patient)
    except (PayloadError, Undecodable) as error:
        raise ConfigurationError(f"{payload or example_name}: {str(error).rstrip('.')}.") from error
    results = [result for value in values for result in mappings.map(value, _now(), mapping)]
    problems = [ProblemRow.of(each) for each in results if isinstance(each, ReadingProblem)]
    readings = [reading_of(each) for each in results if isinstance(each, MappedReading)]
    if as_json:
        shown: dict[str, Any] = {"readings": readings, "problems": [_members(each) for each in problems]}
        typer.echo(encode_json(shown, indent=2))
    else:
        for reading in readings:
            typer.echo(encode_json(reading, indent=2))
        print_rows(problems, ProblemRow, "problem", as_json=False, wide=wide)
    raise typer.Exit(1 if problems else 0)


def _members(problem: ProblemRow) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ProblemRow.__slots__}


def _decode(content: bytes, form: str, device: str, patient: str) -> Sequence[object]:
    """The payloads. Raises `PayloadError` and `Undecodable`."""
    if form == "csv":
        return [decode_line(line) for line in split_lines(content)]
    if form.startswith("gatt:"):
        number = form.removeprefix("gatt:")
        return [decode_characteristic(number, content, device=device, patient=patient)]
    if form != "json":
        raise ConfigurationError("--format is json, csv, or gatt: and the number of a characteristic.")
    return [parse_payload(content)]


def _content(payload: str, example_name: str) -> bytes:
    if bool(payload) == bool(example_name):
        raise ConfigurationError("Give a payload or --example. Run `fhir-broker mappings test --help`.")
    if example_name:
        if example_name not in example_names():
            raise ConfigurationError(
                f"There is no example {example_name}. There are {', '.join(example_names())}."
            )
        return example(example_name)
    if payload == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(payload).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{payload} cannot be read: {error.strerror}.") from error


@app.command()
def document(
    output: Annotated[
        Path | None, typer.Option("--output", help="The file to write. Default: standard output.")
    ] = None,
    form: Annotated[
        DocumentFormat, typer.Option("--format", help="The form of the document.")
    ] = DocumentFormat.MARKDOWN,
    folder: FolderOption = None,
) -> None:
    """Write the resource mapping document: for each value of each device the resource, profile, LOINC, MDC,
    UCUM unit and source field, from the mappings that the broker uses.

    Examples:

        fhir-broker mappings document --format html --output mapping-document.html

        fhir-broker mappings document --format csv
    """
    mappings = _load(folder)
    rows = rows_of(mappings)
    match form:
        case DocumentFormat.HTML:
            text = to_html(rows, mappings)
        case DocumentFormat.CSV:
            text = to_csv(rows)
        case _:
            text = to_markdown(rows, mappings)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}.") from error


app.command("import")(mapping_import.import_)
