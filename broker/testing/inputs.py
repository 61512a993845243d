"""FHIR JSON files to replay: resources, or Bundles of them."""

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
    """One resource to send, its bytes as they stand in the file (those inside a Bundle are written anew)."""

    label: str
    body: bytes
    is_vital_sign: bool


def read_folder(folder: Path) -> list[Input]:
    """Every resource of a folder's *.json files, in the order of their names; conformance resources are left out.

    Raises `ConfigurationError` for a folder without any, and for a file that can't be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"--input {folder}: there is no such folder")
    found = [one for path in sorted(folder.rglob("*.json")) for one in _read(path)]
    if not found:
        raise ConfigurationError(f"--input {folder}: there is no FHIR resource in it (*.json)")
    return found


def _read(path: Path) -> Iterator[Input]:
    body = path.read_bytes()
    try:
        resource = json.loads(body)
    except ValueError as error:
        raise ConfigurationError(f"--input {path}: not JSON ({error})") from None
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
