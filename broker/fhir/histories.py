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


def history_bundle(entries: Sequence[BundleMember], links: Mapping[str, str]) -> Resource:
    """The Bundle of entries, newest first; `links` are URLs by relation."""
    rendered = [{"relation": relation, "url": url} for relation, url in links.items()]
    return bundle({"id": str(uuid.uuid4()), "type": "history", "link": rendered}, entries)


def history_entry(base: str, version: Version, release: Release, view: SummaryView) -> BundleMember:
    """The entry of a version in a release. A version without a conversion is named, with the reason."""
    key = version.key
    url, version_url = f"{base}/{key.reference}", f"{key.reference}/_history/{key.version}"
    response: dict[str, Any] = {
        "etag": f'W/"{key.version}"',
        "lastModified": to_instant(version.at_ms),
        "location": f"{base}/{version_url}",
    }
    if version.resource is None:
        request = _request(HTTPMethod.DELETE, key.reference)
        return entry(url, None, request=request, response={"status": "204"} | response)
    resource = convert(version.resource, key.type, version.release, release)
    if resource is None:
        text = f"It was written as {version.release}, and no conversion to {release} exists."
        outcome = orjson.Fragment(operation_outcome([Issue("not-supported", text)]))
        request = _request(HTTPMethod.GET, version_url)
        return entry(url, None, request=request, response={"status": "406"} | response | {"outcome": outcome})
    if version.interaction is Interaction.CREATE:
        request, status = _request(HTTPMethod.POST, key.type), "201"
    else:
        request, status = _request(HTTPMethod.PUT, key.reference), "200"
    shown = summarize(release, resource, view)
    return entry(url, shown, request=request, response={"status": status} | response)


def _request(method: HTTPMethod, url: str) -> dict[str, str]:
    return {"method": method.value, "url": url}
