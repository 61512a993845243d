"""Catalogs of profiles for tests."""

from functools import cache
from pathlib import Path
from typing import Any

from broker.errors import Issue
from broker.matching.fhirpath import compile_invariant
from broker.model.release import Release
from broker.profiles.catalog import ProfileCatalog
from broker.profiles.packages import Definition
from tests.unit.profiles.examples import Json, resource_of


@cache
def shipped() -> ProfileCatalog:
    """Only the profiles that the broker has by itself."""
    return ProfileCatalog.load(None, compile_invariant)


def catalog_of(*definitions: Json) -> ProfileCatalog:
    return ProfileCatalog([Definition.of_fields(each) for each in definitions], compile_invariant)


def catalog_in(directory: Path) -> ProfileCatalog:
    return ProfileCatalog.load(directory, compile_invariant)


def issues_of(
    fields: Json, catalog: ProfileCatalog | None = None, *profiles: str, release: Release = Release.R4
) -> list[Issue]:
    found = (catalog or shipped()).validate(release, resource_of(fields), profiles)
    return list(found)


def errors(fields: Json, catalog: ProfileCatalog | None = None, *profiles: str) -> list[str | None]:
    """The paths of the errors, each once."""
    found = issues_of(fields, catalog, *profiles)
    return list(dict.fromkeys(each.expression for each in found if each.severity == "error"))


def definition(url: str, base: str, *elements: Json, type: str = "Observation", **members: Any) -> Json:
    """A profile as a differential."""
    return {
        "resourceType": "StructureDefinition",
        "url": url,
        "name": url.rpartition("/")[2],
        "status": "active",
        "fhirVersion": "4.0.1",
        "kind": "resource",
        "abstract": False,
        "type": type,
        "baseDefinition": base,
        "derivation": "constraint",
        "differential": {"element": list(elements)},
        **members,
    }
