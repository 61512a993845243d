"""Reads FHIR JSON files, resources or Bundles of them, so that they can be sent to a broker."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import ConfigurationError

_VITAL_SIGNS = "vital-signs"
_NOT_SENT = {
    "StructureDefinition",
    "ValueSet",
    "CodeSystem",
    "ImplementationGuide",
    "SearchParameter",
    "CapabilityStatement",
}


@dataclass(frozen=True, slots=True)
class Input:
    """One resource to send: the bytes of its file, or, from inside a Bundle, encoded again."""

    label: str
    body: bytes
    is_vital_sign: bool


def read_folder(folder: Path) -> list[Input]:
    """Every resource in the *.json files of a folder, in the order of their names, without conformance
    resources.

    Raises `ConfigurationError` for a folder without resources, and for a file that is not JSON.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"--input {folder}: the folder does not exist. Give a folder of FHIR JSON files."
        )
    inputs = [resource for path in sorted(folder.rglob("*.json")) for resource in _read(path)]
    if not inputs:
        raise ConfigurationError(
            f"--input {folder}: the folder contains no FHIR resource. Give a folder of FHIR JSON files."
        )
    return inputs


def _read(path: Path) -> Iterator[Input]:
    body = path.read_bytes()
    try:
        resource = json.loads(body)
    except ValueError as error:
        raise ConfigurationError(f"--input {path}: not JSON ({error}). Correct or remove the file.") from None
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if kind is None or kind in _NOT_SENT:
        return
    if kind != "Bundle":
        yield Input(path.name, body, _is_vital_sign(resource))
        return
    for n, entry in enumerate(resource.get("entry", ())):
        inner = entry.get("resource")
        if inner and inner.get("resourceType") not in _NOT_SENT:
            yield Input(f"{path.name}[{n}]", json.dumps(inner).encode(), _is_vital_sign(inner))


def _is_vital_sign(resource: dict[str, Any]) -> bool:
    return resource["resourceType"] == "Observation" and any(
        coding.get("code") == _VITAL_SIGNS
        for category in resource.get("category", ())
        for coding in category.get("coding", ())
    )
