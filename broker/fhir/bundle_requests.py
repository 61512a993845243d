"""Reads a batch or transaction Bundle into its requests.

Each resource in it keeps its spelling. Called by the HTTP API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from broker.errors import Issue, Malformed, TooLarge, Unprocessable
from broker.model import json_text
from broker.model.resource import Resource

MAX_ENTRIES = 1_000
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"})


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One request of a batch or transaction; headers are '' where absent. `if_modified_since` is an HTTP
    date.
    """

    full_url: str
    method: str
    url: str
    if_match: str = ""
    if_none_exist: str = ""
    if_none_match: str = ""
    if_modified_since: str = ""
    resource: Resource | None = None


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """A Bundle posted to a base; `type` is `batch` or `transaction`."""

    type: str
    entries: tuple[BundleEntry, ...]


def parse_bundle(bundle: Resource, max_entries: int = MAX_ENTRIES) -> BundleRequest:
    """The requests of a batch or transaction.

    Reports all errors at once, each with its element: raises `Malformed` if any part is not FHIR JSON, else
    `Unprocessable`. Raises `TooLarge` for more than `max_entries`.
    """
    if bundle.fields.get("resourceType") != "Bundle":
        raise Unprocessable(Issue("invalid", "a base takes a Bundle", "Bundle.resourceType"))
    bundle_type = _text(bundle.fields, "type", "Bundle.type")
    if bundle_type not in {"batch", "transaction"}:
        text = f"a Bundle posted to a base is of type batch or transaction, not {bundle_type!r}"
        raise Unprocessable(Issue("value" if bundle_type else "required", text, "Bundle.type"))
    if not isinstance(bundle.fields.get("entry", ()), tuple):
        raise Malformed(Issue("structure", "entry must be an array", "Bundle.entry"))
    if len(bundle.fields.get("entry", ())) > max_entries:
        text = f"The Bundle has more than {max_entries} entries (BROKER_MAX_ENTRIES). Send it in parts."
        raise TooLarge(Issue("too-costly", text, "Bundle.entry"), limit="entries")
    return BundleRequest(bundle_type, _entries(json_text.items(bundle.members.get("entry", b"[]"))))


def _entries(raw_entries: Sequence[bytes]) -> tuple[BundleEntry, ...]:
    malformed: list[Issue] = []
    unprocessable: list[Issue] = []
    entries: list[BundleEntry] = []
    full_urls: set[str] = set()
    for n, raw in enumerate(raw_entries):
        try:
            entry = _entry(raw, f"Bundle.entry[{n}]")
        except Malformed as error:
            malformed += error.issues
        except Unprocessable as error:
            unprocessable += error.issues
        else:
            if entry.full_url and entry.full_url in full_urls:
                text = f"{entry.full_url} is the fullUrl of an earlier entry"
                unprocessable.append(Issue("invalid", text, f"Bundle.entry[{n}].fullUrl"))
            full_urls.add(entry.full_url)
            entries.append(entry)
    if malformed:
        raise Malformed(*malformed, *unprocessable)
    if unprocessable:
        raise Unprocessable(*unprocessable)
    return tuple(entries)


def _entry(raw: bytes, element: str) -> BundleEntry:
    if not raw.startswith(b"{"):
        raise Malformed(Issue("structure", "an entry must be an object", element))
    parts = json_text.members(raw)
    resource = parts.get("resource")
    if resource is not None and not resource.startswith(b"{"):
        raise Malformed(Issue("structure", "a resource must be an object", f"{element}.resource"))
    full_url = _text(
        {"fullUrl": json_text.decode_value(parts.get("fullUrl", b"null"))}, "fullUrl", f"{element}.fullUrl"
    )
    request = json_text.decode_value(parts.get("request", b"null"))
    if request is None:
        text = "each entry of a batch or transaction needs a request"
        raise Unprocessable(Issue("required", text, f"{element}.request"))
    if not isinstance(request, dict):
        raise Malformed(Issue("structure", "a request must be an object", f"{element}.request"))
    method, url, if_match, if_none_exist, if_none_match = (
        _text(request, name, f"{element}.request.{name}")
        for name in ("method", "url", "ifMatch", "ifNoneExist", "ifNoneMatch")
    )
    issues = []
    if method not in METHODS:
        text = f"{method!r} is not a method; use one of {', '.join(sorted(METHODS))}"
        issues.append(Issue("value" if method else "required", text, f"{element}.request.method"))
    if not url:
        issues.append(Issue("required", "a request needs its url", f"{element}.request.url"))
    if method in {"POST", "PUT", "PATCH"} and resource is None:
        issues.append(Issue("required", f"a {method} needs a resource", f"{element}.resource"))
    since = _text(request, "ifModifiedSince", f"{element}.request.ifModifiedSince")
    if since and method not in {"GET", "HEAD"}:
        text = f"a {method} does not take ifModifiedSince; send ifMatch"
        issues.append(Issue("not-supported", text, f"{element}.request.ifModifiedSince"))
    if issues:
        raise Unprocessable(*issues)
    return BundleEntry(
        full_url,
        method,
        url,
        if_match,
        if_none_exist,
        if_none_match,
        _http_date(since, f"{element}.request.ifModifiedSince"),
        None if resource is None else Resource(resource),
    )


def _http_date(instant: str, element: str) -> str:
    if not instant:
        return ""
    try:
        moment = datetime.fromisoformat(instant)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Malformed(Issue("value", f"{instant!r} is not an instant", element))
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _text(values: Mapping[str, Any], name: str, element: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(Issue("structure", f"{name} must be a string", element))
    if not value:
        raise Malformed(Issue("structure", f"{name} is empty; leave it out", element))
    return value
