"""Writes the response to a batch or transaction Bundle. Called by the HTTP API."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from broker.clock import to_instant
from broker.model.json_text import join
from broker.model.resource import Resource


@dataclass(frozen=True, slots=True)
class BundleResult:
    """The result of one entry.

    `status` is a status line such as `201 Created`; `outcome` is an OperationOutcome.
    """

    status: str
    location: str | None = None
    etag: str | None = None
    last_modified_ms: int | None = None
    resource: Resource | None = None
    outcome: bytes | None = None


def render_bundle_response(request_type: str, results: Sequence[BundleResult]) -> bytes:
    """The response to a Bundle of the given type (`batch` or `transaction`), entry by entry in its order."""
    parts = {"resourceType": b'"Bundle"', "type": orjson.dumps(f"{request_type}-response")}
    if results:
        parts["entry"] = b"[" + b",".join(_entry(result) for result in results) + b"]"
    return join(parts)


def _entry(result: BundleResult) -> bytes:
    response = {"status": orjson.dumps(result.status)}
    if result.location:
        response["location"] = orjson.dumps(result.location)
    if result.etag:
        response["etag"] = orjson.dumps(result.etag)
    if result.last_modified_ms is not None:
        response["lastModified"] = orjson.dumps(to_instant(result.last_modified_ms))
    if result.outcome is not None:
        response["outcome"] = result.outcome
    entry = {} if result.resource is None else {"resource": result.resource.text}
    return join(entry | {"response": join(response)})
