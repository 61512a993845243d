"""Writes the Bundle of a history: what happened in each version, and the resource as it was then.

The HTTP API uses it.
"""

import uuid
from collections.abc import Mapping, Sequence
from http import HTTPMethod
from typing import Any

import orjson

from broker.clock import to_instant
from broker.errors import Issue
from broker.fhir.bundles import BundleMember, bundle, entry
from broker.fhir.conversion import convert
from broker.fhir.outcomes import operation_outcome
from broker.fhir.summaries import SummaryView, summarize
from broker.model.change import Interaction, Version
from broker.model.release import Release
from broker.model.resource import Resource


def history_bundle(
    entries: Sequence[BundleMember], links: Mapping[str, str], moment_ms: int | None = None
) -> Resource:
    """The Bundle of entries, newest first, with the moment that the history is of; `links` are URLs by
    relation.
    """
    members: dict[str, Any] = {"id": str(uuid.uuid4())}
    if moment_ms is not None:
        members["meta"] = {"lastUpdated": to_instant(moment_ms)}
    rendered = [{"relation": relation, "url": url} for relation, url in links.items()]
    return bundle(members | {"type": "history", "link": rendered}, entries)


def history_entry(base: str, version: Version, release: Release, view: SummaryView) -> BundleMember:
    """The entry of a version in a release. A version that cannot be shown is named, with the reason."""
    key = version.key
    url, version_url = f"{base}/{key.reference}", f"{key.reference}/_history/{key.version}"
    response: dict[str, Any] = {
        "etag": f'W/"{key.version}"',
        "lastModified": to_instant(version.at_ms),
        "location": f"{base}/{version_url}",
    }
    if version.interaction is Interaction.DELETE:
        request = _request(HTTPMethod.DELETE, key.reference)
        return entry(url, None, request=request, response={"status": "204"} | response)
    resource, problem = _shown(version, release)
    if resource is None:
        status, issue = problem
        outcome = orjson.Fragment(operation_outcome([issue]))
        request = _request(HTTPMethod.GET, version_url)
        return entry(
            url, None, request=request, response={"status": status} | response | {"outcome": outcome}
        )
    if version.interaction is Interaction.CREATE:
        request, status = _request(HTTPMethod.POST, key.type), "201"
    else:
        request, status = _request(HTTPMethod.PUT, key.reference), "200"
    shown = summarize(release, resource, view)
    return entry(url, shown, request=request, response={"status": status} | response)


def _shown(version: Version, release: Release) -> tuple[Resource | None, tuple[str, Issue]]:
    """The resource in the release, or the status and issue that a read of the version has."""
    if version.resource is None:
        return None, ("500", Issue("exception", "The stored version cannot be read."))
    text = f"It was written as {version.release}, and no conversion to {release} exists."
    resource = convert(version.resource, version.key.type, version.release, release)
    return resource, ("406", Issue("not-supported", text))


def _request(method: HTTPMethod, url: str) -> dict[str, str]:
    return {"method": method.value, "url": url}
