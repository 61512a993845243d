"""`mappings import`: turns templates of the Microsoft MedTech service (iomt-fhir) into mapping files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.output import JsonOption, WideOption, print_json, print_rows
from broker.errors import ConfigurationError
from broker.mapping.medtech.importing import ImportResult, LeftOut, Systems, import_templates
from broker.mapping.medtech.templates import read_templates
from broker.mapping.schema import SCHEMA_FILE, schema_text

_EXAMPLE_SYSTEM = "http://example.org/devices"


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="TEMPLATE...", help="Device content and FHIR mapping templates, as JSON files."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder for the mapping files; it is created.")],
    device_system: Annotated[
        str,
        typer.Option(
            "--device-system", help="The URL of the system of device ids, which templates do not name."
        ),
    ],
    patient_system: Annotated[
        str, typer.Option("--patient-system", help="That of patient ids. Default: that of device ids.")
    ] = "",
    encounter_system: Annotated[
        str, typer.Option("--encounter-system", help="That of encounter ids. Default: that of device ids.")
    ] = "",
    name: Annotated[
        str, typer.Option("--name", help="What the names of the mappings begin with.")
    ] = "medtech",
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there.")] = False,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Turn MedTech (iomt-fhir) templates into mapping files, and list what could not be carried over.

    Give the device content templates and the FHIR mapping templates together. All kinds are read:
    CollectionContent, JsonPathContent, IotJsonPathContent, IotCentralJsonPathContent, CalculatedContent;
    CollectionFhir, CodeValueFhir.

    Exit code 0 if all was carried over, 1 if not, 2 if the files cannot be read or written.

    Example:

        fhir-broker mappings import devicecontent.json fhirmapping.json --to mappings/
        --device-system http://example.org/devices
    """
    for system in (device_system, patient_system, encounter_system):
        if system and ":" not in system:
            raise ConfigurationError(f"{system} is no URL. Give one such as {_EXAMPLE_SYSTEM}.")
    templates = read_templates({str(path): _content(path) for path in files})
    systems = Systems(device_system, patient_system or device_system, encounter_system or device_system)
    result = import_templates(templates, name, systems, SCHEMA_FILE)
    written = _write(to, result, replace=replace)
    if as_json:
        rows = [dataclasses.asdict(each) for each in result.left_out]
        print_json({"files": written, "leftOut": rows})
    else:
        for path in written:
            typer.echo(path)
        print_rows(
            result.left_out,
            LeftOut,
            "part not carried over",
            as_json=False,
            wide=wide,
            plural="parts not carried over",
        )
    raise typer.Exit(1 if result.left_out else 0)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error


def _write(folder: Path, result: ImportResult, *, replace: bool) -> Sequence[str]:
    """Writes the files and the schema that they name. Raises `ConfigurationError`, before any is written."""
    files = {folder / name: text for name, text in result.files.items()}
    existing = next((path for path in files if path.exists()), None)
    if existing is not None and not replace:
        raise ConfigurationError(f"{existing} exists. Give another --name or folder, or --replace.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
        (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}.") from error
    return [str(path) for path in files]
