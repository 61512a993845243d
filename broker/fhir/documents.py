"""Resources and request Bundles as bytes: what the broker must know or change of them, with every number spelt as it came.

A JSON text is checked once (`members`): UTF-8, no NaN, bounded depth, an object. Its members are then taken out and put
back as the bytes they were, so 2.00 stays 2.00. Where a name is given twice in one object the last one counts, here and
in validation alike. The rules of resource types are left to `validation.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from broker.clock import to_instant
from broker.errors import Issue, Malformed, Unprocessable

MAX_DEPTH = 64
"""How deep objects and arrays may nest: no resource type needs half of it, and every reader of the bytes can take it."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"})

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_BRACKETS = re.compile(_STRING + rb"|[\[\]{}]")
_STRINGS = re.compile(rb"(" + _STRING + rb")(\s*:)?")
_PATIENT = re.compile(r"(Patient/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATIENT_ELEMENTS = (
    "subject",
    "patient",
    "beneficiary",
    "for",
    "individual",
    "actor",
    "candidate",
    "policyHolder",
)
_SERVER_MEMBERS = frozenset({"versionId", "lastUpdated", "_versionId", "_lastUpdated"})
_PLACED_MEMBERS = frozenset({"resourceType", "id", "meta"})
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One request of a batch or transaction; headers are '' where absent. `resource` is its bytes."""

    full_url: str
    method: str
    url: str
    if_match: str = ""
    if_none_exist: str = ""
    if_none_match: str = ""
    resource: bytes | None = None


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """A Bundle posted to a base; `type` is `batch` or `transaction`."""

    type: str
    entries: tuple[BundleEntry, ...]


@dataclass(frozen=True, slots=True)
class BundleResult:
    """What became of one entry. `status` is a status line such as `201 Created`."""

    status: str
    location: str | None = None
    etag: str | None = None
    last_modified_ms: int | None = None
    resource: bytes | None = None
    outcome: bytes | None = None


@lru_cache(maxsize=4)
def parse(body: bytes) -> Mapping[str, Any]:
    """The JSON object as plain values, for looking only: numbers may lose their spelling, and callers share it.

    A body is read once, however many of its questions are asked one after the other: the last few are remembered. Raises
    `Malformed` for what is not UTF-8, not JSON, too deep or no object.
    """
    try:
        parsed = orjson.loads(body)  # has a depth limit of its own, far above ours
    except orjson.JSONDecodeError as error:
        raise Malformed(Issue("structure", f"the body is not valid JSON in UTF-8: {error}")) from None
    if not isinstance(parsed, dict):
        raise Malformed(Issue("structure", "the body is JSON but no object, so no FHIR resource"))
    _check_depth(body)
    return parsed


def members(body: bytes) -> dict[str, bytes]:
    """The object's members as the bytes they came in, in their order. Raises as `parse` does."""
    parse(body)
    return _members(body)


def items(array: bytes) -> list[bytes]:
    """The members of an array that is part of a checked body."""
    return [bytes(raw) for raw in _RAW_ITEMS.decode(array)]


def join(parts: Mapping[str, bytes]) -> bytes:
    """The object of the given members: the inverse of `members`."""
    return b"{" + b"".join([_label(name) + raw for name, raw in parts.items()])[1:] + b"}"


def resource_type(body: bytes) -> str:
    """The `resourceType`, '' when absent."""
    return _text(parse(body), "resourceType", "resourceType")


def resource_id(body: bytes) -> str:
    """The `id`, '' when absent."""
    return _text(parse(body), "id", "Resource.id")


def check_type(body: bytes, expected: str) -> None:
    """Raises `Unprocessable` unless the body is a resource of the type asked for, `Malformed` if it is none at all."""
    given = resource_type(body)
    if given != expected:
        text = (
            f"resourceType is {given[:80]!r}, expected {expected!r}" if given else "resourceType is missing"
        )
        raise Unprocessable(Issue("invalid" if given else "required", text, "resourceType"))


def check_id(resource_id: str) -> None:
    """Raises `Malformed` unless it is a FHIR id."""
    if not _ID.fullmatch(resource_id):
        text = f"{resource_id[:80]!r} is no id: letters, digits, - and . are allowed, 1 to 64 of them"
        raise Malformed(Issue("value", text, "Resource.id"))


def split(body: bytes, *, type: str, id: str) -> tuple[bytes, bytes]:
    """Head and tail between which the store writes `"versionId":"3","lastUpdated":"…"`.

    The result has `resourceType`, `id` and `meta` first and all other members after them, untouched and in their order;
    `type` and `id` are a type's name and a FHIR id.
    Of the client's meta everything stays but what the server owns.
    """
    meta = parse(body).get("meta")
    if not isinstance(meta, dict | None):
        raise Malformed(Issue("structure", "meta must be an object", f"{type}.meta"))
    parts = _RAW_MEMBERS.decode(body)
    tail: list[bytes | msgspec.Raw] = []
    if meta:
        for name, raw in _RAW_MEMBERS.decode(parts["meta"]).items():
            if name not in _SERVER_MEMBERS:
                tail += (_label(name), raw)
    tail.append(b"}")
    for name, raw in parts.items():
        if name not in _PLACED_MEMBERS:
            tail += (_label(name), raw)
    tail.append(b"}")
    head = f'{{"resourceType":"{type}","id":"{id}","meta":{{'.encode()
    return head, b"".join(tail)


def identifiers(body: bytes) -> list[str]:
    """The resource's business identifiers as `system|value`, `|value` without a system, each once.

    The store keeps them a line each. A system or value with a control character, which no FHIR search could carry
    either, is therefore left out; so is one without a value.
    """
    given = parse(body).get("identifier")
    found: dict[str, None] = {}
    for identifier in given if isinstance(given, list) else [given]:
        if not isinstance(identifier, dict):
            continue
        system, value = identifier.get("system", ""), identifier.get("value")
        if (
            isinstance(system, str)
            and isinstance(value, str)
            and value
            and not _CONTROL.search(system + value)
        ):
            found[f"{system}|{value}"] = None
    return list(found)


def patient_reference(body: bytes) -> str | None:
    """`Patient/id` of the patient the resource is about, else None; for placement, so only relative references count.

    A Patient is its own compartment and gives None.
    """
    resource = parse(body)
    if resource.get("resourceType") == "Patient":
        return None
    for name in _PATIENT_ELEMENTS:
        given = resource.get(name)
        for reference in given if isinstance(given, list) else [given]:
            target = reference.get("reference") if isinstance(reference, dict) else None
            if isinstance(target, str) and (found := _PATIENT.fullmatch(target)):
                return found[1]
    return None


def replace_references(body: bytes, mapping: Mapping[str, str]) -> bytes:
    """The body with each string value that equals a key replaced: a transaction's `urn:uuid:…` by `Type/id`.

    Only whole values change, so narrative doesn't; nor does a member called `value` (Identifier.value names a thing, it
    doesn't refer to it). `body` must have passed `parse`.
    """
    if not mapping:
        return body
    name = b""

    def replaced(match: re.Match[bytes]) -> bytes:
        nonlocal name
        if match[2] is not None:
            name = match[1]
            return match[0]
        if name == b'"value"':
            return match[0]
        target = mapping.get(orjson.loads(match[1]))
        return match[0] if target is None else orjson.dumps(target)

    return _STRINGS.sub(replaced, body)


def parse_bundle(body: bytes) -> BundleRequest:
    """The requests of a batch or transaction.

    Everything wrong is told at once, each with its place: `Malformed` if any of it is no FHIR JSON, else `Unprocessable`.
    """
    parts, bundle = members(body), parse(body)
    if bundle.get("resourceType") != "Bundle":
        raise Unprocessable(Issue("invalid", "a base takes a Bundle", "Bundle.resourceType"))
    kind = _text(bundle, "type", "Bundle.type")
    if kind not in {"batch", "transaction"}:
        text = f"a Bundle posted to a base is of type batch or transaction, not {kind!r}"
        raise Unprocessable(Issue("value" if kind else "required", text, "Bundle.type"))
    if not isinstance(bundle.get("entry", []), list):
        raise Malformed(Issue("structure", "entry must be an array", "Bundle.entry"))
    return BundleRequest(kind, _entries(items(parts.get("entry", b"[]"))))


def render_bundle_response(type: str, entries: Sequence[BundleResult]) -> bytes:
    """The answer to a Bundle of the given request type (`batch` or `transaction`), entry by entry in its order."""
    parts = {"resourceType": b'"Bundle"', "type": orjson.dumps(f"{type}-response")}
    if entries:
        parts["entry"] = b"[" + b",".join(_result(entry) for entry in entries) + b"]"
    return join(parts)


def _result(result: BundleResult) -> bytes:
    response = {"status": orjson.dumps(result.status)}
    if result.location:
        response["location"] = orjson.dumps(result.location)
    if result.etag:
        response["etag"] = orjson.dumps(result.etag)
    if result.last_modified_ms is not None:
        response["lastModified"] = orjson.dumps(to_instant(result.last_modified_ms))
    if result.outcome is not None:
        response["outcome"] = result.outcome
    entry = {} if result.resource is None else {"resource": result.resource}
    return join(entry | {"response": join(response)})


def _entries(raw_entries: Sequence[bytes]) -> tuple[BundleEntry, ...]:
    malformed: list[Issue] = []
    wrong: list[Issue] = []
    entries: list[BundleEntry] = []
    seen: set[str] = set()
    for n, raw in enumerate(raw_entries):
        try:
            entry = _entry(raw, f"Bundle.entry[{n}]")
        except Malformed as error:
            malformed += error.issues
        except Unprocessable as error:
            wrong += error.issues
        else:
            if entry.full_url and entry.full_url in seen:
                place = f"Bundle.entry[{n}].fullUrl"
                wrong.append(Issue("invalid", f"{entry.full_url} is the fullUrl of an earlier entry", place))
            seen.add(entry.full_url)
            entries.append(entry)
    if malformed:
        raise Malformed(*malformed, *wrong)
    if wrong:
        raise Unprocessable(*wrong)
    return tuple(entries)


def _entry(raw: bytes, place: str) -> BundleEntry:
    if not raw.startswith(b"{"):
        raise Malformed(Issue("structure", "an entry must be an object", place))
    parts = _members(raw)
    resource = parts.get("resource")
    if resource is not None and not resource.startswith(b"{"):
        raise Malformed(Issue("structure", "a resource must be an object", f"{place}.resource"))
    full_url = _text({"fullUrl": orjson.loads(parts.get("fullUrl", b"null"))}, "fullUrl", f"{place}.fullUrl")
    request = orjson.loads(parts.get("request", b"null"))
    if request is None:
        text = "each entry of a batch or transaction needs a request"
        raise Unprocessable(Issue("required", text, f"{place}.request"))
    if not isinstance(request, dict):
        raise Malformed(Issue("structure", "a request must be an object", f"{place}.request"))
    method, url, if_match, if_none_exist, if_none_match = (
        _text(request, name, f"{place}.request.{name}")
        for name in ("method", "url", "ifMatch", "ifNoneExist", "ifNoneMatch")
    )
    issues = []
    if method not in METHODS:
        text = f"{method!r} is no method; known are {', '.join(sorted(METHODS))}"
        issues.append(Issue("value" if method else "required", text, f"{place}.request.method"))
    if not url:
        issues.append(Issue("required", "a request needs its url", f"{place}.request.url"))
    if method in {"POST", "PUT", "PATCH"} and resource is None:
        issues.append(Issue("required", f"a {method} needs a resource", f"{place}.resource"))
    if issues:
        raise Unprocessable(*issues)
    return BundleEntry(full_url, method, url, if_match, if_none_exist, if_none_match, resource)


def _members(raw: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in _RAW_MEMBERS.decode(raw).items()}


@lru_cache(maxsize=1024)
def _label(name: str) -> bytes:
    """A member's name with the comma before it and the colon behind it."""
    return b"," + orjson.dumps(name) + b":"


def _text(values: Mapping[str, Any], name: str, place: str) -> str:
    given = values.get(name)
    if given is None:
        return ""
    if not isinstance(given, str):
        raise Malformed(Issue("structure", f"{name} must be a string", place))
    return given


def _check_depth(body: bytes) -> None:
    """Refuses what later readers could not follow. The body is valid JSON, so each string ends: one pass suffices."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKETS.finditer(body):
        token = match[0]
        if token in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(
                    Issue("structure", f"the body nests deeper than {MAX_DEPTH} objects and arrays")
                )
        elif token in b"}]":
            depth -= 1
