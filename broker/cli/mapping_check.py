"""`mappings check`: which mapping files can be used, and what of `merge` in them is doubtful."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from broker.cli.mapping_values import CheckedMappingRow
from broker.cli.output import JsonOption, WideOption, print_rows
from broker.clock import SystemClock
from broker.errors import ConfigurationError
from broker.mapping.compiling import compile_mapping
from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.errors import MappingError
from broker.mapping.mapping_set import MappingSet, file_text, shipped_mappings
from broker.mapping.merge_checks import merge_warnings
from broker.mapping.payloads import PayloadError, parse_payload
from broker.mapping.reading import MappedReading, ReadingProblem
from broker.mapping.yaml_document import YamlDocument, parse_yaml
from broker.settings import Settings


class _Checked(NamedTuple):
    """A file that can be used, unless another one has the same name (`problem`)."""

    path: Path
    document: YamlDocument
    mapping: DeviceMapping
    problem: str


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Mapping files or folders. Default: those of the broker."),
    ] = None,
    *,
    payloads: Annotated[
        list[Path] | None,
        typer.Option(
            "--payload", help="A JSON payload of the device, with whose samples `merge` is compared."
        ),
    ] = None,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Check mapping files: keys, expressions, units, codes and time zones. Each error names the line.

    Warns of a `merge` whose window or period is too small for the times of the device or, with --payload, for
    the distance of its samples.

    Exit code 0 if every file can be used, 1 if not, 2 if there is no file to check.

    Examples:

        fhir-broker mappings check mappings/

        fhir-broker mappings check mappings/strap.yaml --payload first.json --payload second.json
    """
    folder = Settings.from_environment(os.environ).mappings_dir
    given = files or ([folder] if folder is not None else [])
    if given:
        rows = _check([path for each in given for path in _files_of(each)], payloads or [])
    elif payloads:
        raise ConfigurationError("--payload needs the mapping file of its device. Name it before the option.")
    else:
        rows = [
            CheckedMappingRow(each.file, each.name, len(each.observations), "", [])
            for each in shipped_mappings()
        ]
    print_rows(rows, CheckedMappingRow, "mapping file", as_json=as_json, wide=wide)
    raise typer.Exit(1 if any(row.problem for row in rows) else 0)


def _files_of(path: Path) -> Sequence[Path]:
    found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not found:
        raise ConfigurationError(f"{path} has no *.yaml file. Give the folder that has the mapping files.")
    return found


def _check(paths: Sequence[Path], payloads: Sequence[Path]) -> list[CheckedMappingRow]:
    checked: list[_Checked | CheckedMappingRow] = []
    files: dict[str, Path] = {}
    for path in paths:
        try:
            text = file_text(path)
            mapping = compile_mapping(str(path), text)
        except MappingError as error:
            checked.append(CheckedMappingRow(str(path), "", 0, str(error), []))
            continue
        problem = f"{files[mapping.name]} has the same name. Rename one." if mapping.name in files else ""
        files.setdefault(mapping.name, path)
        checked.append(_Checked(path, parse_yaml(str(path), text), mapping, problem))
    usable = [each.mapping for each in checked if isinstance(each, _Checked) and not each.problem]
    readings = [reading for path in payloads for reading in _readings(path, MappingSet(tuple(usable)))]
    return [each if isinstance(each, CheckedMappingRow) else _row(each, readings) for each in checked]


def _row(checked: _Checked, readings: Sequence[MappedReading]) -> CheckedMappingRow:
    path, document, mapping, problem = checked
    warnings = [] if problem else merge_warnings(document, mapping, readings)
    return CheckedMappingRow(str(path), mapping.name, len(mapping.observations), problem, warnings)


def _readings(path: Path, mappings: MappingSet) -> Sequence[MappedReading]:
    """The readings of a payload; what of it cannot be mapped, `mappings test` shows. Raises
    `ConfigurationError` for a payload that is of none of the mappings.
    """
    try:
        payload = parse_payload(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except PayloadError as error:
        raise ConfigurationError(f"{path}: {error}.") from error
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    results = mappings.map(payload, now)
    unmatched = next(
        (each for each in results if isinstance(each, ReadingProblem) and not each.mapping), None
    )
    if unmatched is not None:
        raise ConfigurationError(f"{path}: {unmatched.text}")
    return [each for each in results if isinstance(each, MappedReading)]
