"""Compares what another FHIR server says that it can do with what writing to it needs. Pure; the channel
`fhir-write` calls it with the CapabilityStatement of the server.

A server is taken at its word, and only what it says counts: an interaction that its statement does not list
is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from broker.errors import Malformed
from broker.fhir.json_values import objects
from broker.fhir.server_writes import DeleteMode, WriteMode, WriteRules
from broker.model.release import Release
from broker.model.resource import JsonObject, Resource

_VERSIONS = {Release.R4: "4.0", Release.R4B: "4.3", Release.R5: "5.0"}


class Needs(NamedTuple):
    """What is asked of a server: the types that are written, those that are looked up by identifier, those of
    them that are created, profiles that it has to support, and whether it takes transactions.
    """

    rules: WriteRules
    types: Sequence[str]
    lookups: Sequence[str] = ()
    creates: Sequence[str] = ()
    profiles: Sequence[str] = ()
    has_transactions: bool = True


def missing_capabilities(body: bytes, needs: Needs) -> list[str] | None:
    """What the server lacks, in words; None if the body is no CapabilityStatement."""
    try:
        statement = Resource(body).fields
    except Malformed:
        return None
    if statement.get("resourceType") != "CapabilityStatement":
        return None
    return list(dict.fromkeys(_missing(statement, needs)))


def _missing(statement: JsonObject, needs: Needs) -> Iterator[str]:
    release, version = needs.rules.release, statement.get("fhirVersion")
    if not isinstance(version, str) or not version.startswith(_VERSIONS[release]):
        yield f"it speaks FHIR {version}, and the target is configured as {release.upper()}"
    rest = next((rest for rest in objects(statement.get("rest", ())) if rest.get("mode") == "server"), None)
    if rest is None:
        yield "its CapabilityStatement has no rest of mode server"
        return
    if needs.has_transactions and "transaction" not in _codes(rest):
        yield "it takes no transactions"
    listed = {resource.get("type"): resource for resource in objects(rest.get("resource", ()))}
    for name in needs.types:
        yield from _missing_of_type(name, listed.get(name), needs.rules)
    yield from _missing_of_references(listed, needs)
    supported = {
        profile.split("|")[0]
        for resource in listed.values()
        for profile in _texts(resource.get("supportedProfile"), resource.get("profile"))
    }
    for profile in needs.profiles:
        if profile.split("|")[0] not in supported:
            yield f"it does not list the profile {profile}"


def _missing_of_references(listed: Mapping[Any, JsonObject], needs: Needs) -> Iterator[str]:
    for name in needs.lookups:
        resource = listed.get(name)
        if resource is None or "search-type" not in _codes(resource):
            yield f"it can't search {name}"
        elif "identifier" not in _parameters(resource):
            yield f"it can't search {name} by identifier"
    for name in needs.creates:
        resource = listed.get(name)
        if resource is None or "create" not in _codes(resource):
            yield f"it can't create {name}"
        elif resource.get("conditionalCreate") is not True:
            yield f"it has no conditional create of {name}"


def _missing_of_type(name: str, resource: JsonObject | None, rules: WriteRules) -> Iterator[str]:
    if resource is None:
        yield f"it has no {name}"
        return
    codes = _codes(resource)
    if rules.mode is WriteMode.CONDITIONAL_CREATE:
        if "create" not in codes:
            yield f"it can't create {name}"
        if resource.get("conditionalCreate") is not True:
            yield f"it has no conditional create of {name}"
    elif "update" not in codes:
        yield f"it can't update {name}"
    if rules.mode is WriteMode.CONDITIONAL_UPDATE and resource.get("conditionalUpdate") is not True:
        yield f"it has no conditional update of {name}"
    if rules.mode is WriteMode.UPDATE and resource.get("updateCreate") is not True:
        yield f"it can't create {name} with an id of the broker"
    if rules.deletes is DeleteMode.SEND:
        yield from _missing_for_deletes(name, resource, rules)


def _missing_for_deletes(name: str, resource: JsonObject, rules: WriteRules) -> Iterator[str]:
    if "delete" not in _codes(resource):
        yield f"it can't delete {name}"
    if rules.mode is not WriteMode.UPDATE and resource.get("conditionalDelete") not in {
        "single",
        "multiple",
    }:
        yield f"it has no conditional delete of {name}"


def _codes(element: JsonObject) -> set[object]:
    return {interaction.get("code") for interaction in objects(element.get("interaction", ()))}


def _parameters(resource: JsonObject) -> set[object]:
    return {parameter.get("name") for parameter in objects(resource.get("searchParam", ()))}


def _texts(*values: object) -> Iterator[str]:
    for value in values:
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                yield text
