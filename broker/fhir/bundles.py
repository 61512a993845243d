"""Writes Bundles.

Resources are spliced in as they are stored, so nothing is parsed or encoded again on the way out.

The notification renderers and the search of the HTTP API use it.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.errors import Issue
from broker.fhir.outcomes import operation_outcome
from broker.model.resource import Resource

BundleMember = dict[str, Any]
"""One `Bundle.entry`, ready to be encoded."""


def entry(full_url: str, resource: Resource | None, **members: object) -> BundleMember:
    """An entry with the resource's own text after fullUrl, and the members after it."""
    if resource is None:
        return {"fullUrl": full_url, **members}
    return {"fullUrl": full_url, "resource": orjson.Fragment(resource.text), **members}


def bundle(members: Mapping[str, Any], entries: Sequence[BundleMember]) -> Resource:
    """The Bundle of the members and entries; an empty `entry` array is left out, because FHIR has no empty
    elements.
    """
    optional = {"entry": entries} if entries else {}
    return Resource(orjson.dumps({"resourceType": "Bundle", **members, **optional}))


def searchset(
    entries: Sequence[BundleMember],
    self_url: str,
    *,
    total: int | None,
    links: Mapping[str, str] | None = None,
    updated_ms: int | None = None,
) -> Resource:
    """The result of a search, without a total if it is None. `updated_ms` is the moment that it shows.

    The self link is required in R5 and allowed elsewhere (R-361).
    """
    rendered = [{"relation": "self", "url": self_url}]
    rendered += [{"relation": relation, "url": url} for relation, url in (links or {}).items()]
    optional = {} if total is None else {"total": total}
    meta = {} if updated_ms is None else {"meta": {"lastUpdated": to_instant(updated_ms)}}
    members = {"id": str(uuid.uuid4())} | meta | {"type": "searchset"} | optional | {"link": rendered}
    return bundle(members, entries)


def outcome_entry(issues: Iterable[Issue]) -> BundleMember:
    """An OperationOutcome about the search itself; it is not a match, and no total counts it."""
    outcome = Resource(operation_outcome(issues))
    return entry(f"urn:uuid:{uuid.uuid4()}", outcome, search={"mode": "outcome"})


def match_entry(full_url: str, resource: Resource) -> BundleMember:
    return entry(full_url, resource, search={"mode": "match"})


def include_entry(full_url: str, resource: Resource) -> BundleMember:
    """A resource that accompanies a match; no total counts it."""
    return entry(full_url, resource, search={"mode": "include"})


def deletion_bundle(reference: str) -> Resource:
    """A transaction that deletes one resource, as exports list deletions."""
    return bundle({"type": "transaction"}, [{"request": {"method": "DELETE", "url": reference}}])
