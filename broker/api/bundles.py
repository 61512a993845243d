"""Bundles at the base: `batch`, each entry on its own, and `transaction`, all of them or none."""

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from starlette.datastructures import QueryParams

from broker.api.interactions import find_handler
from broker.api.resources import condition, reply_of, resource_type
from broker.api.responses import Call, Reply, answer, failure
from broker.errors import Issue, MethodNotAllowed, RequestError, Unprocessable
from broker.fhir import documents
from broker.fhir.documents import BundleEntry, BundleResult
from broker.ingest.intake import Admission, Request
from broker.store import keys

MAX_ENTRIES = 1_000
_PHRASES = {200: "200 OK", 201: "201 Created", 204: "204 No Content", 304: "304 Not Modified"}


async def receive(call: Call) -> Reply:
    documents.check_type(call.body, "Bundle")
    bundle = documents.parse_bundle(call.body)
    if len(bundle.entries) > MAX_ENTRIES:
        raise Unprocessable(
            Issue("too-costly", f"a Bundle takes at most {MAX_ENTRIES} entries", "Bundle.entry")
        )
    if bundle.type == "batch":
        results = await asyncio.gather(*(_perform(call, entry) for entry in bundle.entries))
    else:
        results = await _transact(call, bundle.entries)
    return Reply(body=documents.render_bundle_response(bundle.type, results))


def _entry_call(call: Call, entry: BundleEntry) -> Call:
    """The entry as a request of its own: its path below the base, its headers, its body."""
    parts = urlsplit(entry.url)
    base = urlsplit(call.base)
    path = parts.path
    if parts.scheme:
        if (parts.scheme, parts.netloc) != (base.scheme, base.netloc) or not path.startswith(f"{base.path}/"):
            raise Unprocessable(Issue("invalid", f"{entry.url} is not at this base"))
        path = path.removeprefix(base.path)
    headers = {
        "if-match": entry.if_match or "",
        "if-none-match": entry.if_none_match or "",
        "if-none-exist": entry.if_none_exist or "",
        "prefer": call.headers.get("prefer", ""),
    }
    return call._replace(
        method=entry.method,
        path=path.lstrip("/"),
        query=QueryParams(parts.query),
        headers={name: value for name, value in headers.items() if value},
        body=entry.resource or b"",
    )


async def _perform(call: Call, entry: BundleEntry) -> BundleResult:
    """One entry of a batch; what it raises is its own failure and nobody else's."""
    try:
        one = _entry_call(call, entry)
        handler, params = find_handler(one.method, one.path)
        reply = await answer(handler, one._replace(params=params))
    except RequestError as error:
        reply = failure(error)
    if reply.after is not None:
        await reply.after()
    return _result(reply)


def _result(reply: Reply) -> BundleResult:
    is_failure = reply.status >= 400
    modified = reply.headers.get("Last-Modified")
    return BundleResult(
        status=_PHRASES.get(reply.status, str(reply.status)),
        location=reply.headers.get("Location"),
        etag=reply.headers.get("ETag"),
        last_modified_ms=int(parsedate_to_datetime(modified).timestamp() * 1000) if modified else None,
        resource=None if is_failure or not reply.body else reply.body,
        outcome=reply.body if is_failure else None,
    )


_URN = re.compile(r"urn:uuid:[0-9a-fA-F-]{36}|urn:oid:[0-9.]+")


async def _transact(call: Call, entries: Sequence[BundleEntry]) -> list[BundleResult]:
    """Plans every id first, so that entries may refer to each other by fullUrl; then one script writes them all."""
    key = call.headers.get("idempotency-key", "").strip()
    requests = [_request(call, entry, n, key) for n, entry in enumerate(entries)]
    _refuse_repeated(requests)
    placement = _placement(call, requests)
    references: dict[str, str] = {}
    existing: dict[int, str] = {}
    for n, (entry, request) in enumerate(zip(entries, requests, strict=True)):
        planned = request.id
        if request.op == "create":
            if request.condition:
                planned = existing[n] = await call.services.intake.matching(request)
            if not planned:
                existing.pop(n, None)
                planned = call.services.intake.plan_id(request, placement)
                requests[n] = request._replace(id=planned)
        if entry.full_url and _URN.fullmatch(entry.full_url):
            references[entry.full_url] = f"{request.type}/{planned}"
    writes = {
        n: request._replace(body=documents.replace_references(request.body, references))
        for n, request in enumerate(requests)
        if n not in existing
    }
    # FHIR's order of processing: deletes, then creates, then updates
    order = sorted(writes, key=lambda n: ("delete", "create", "put").index(writes[n].op))
    try:
        admitted = await call.services.intake.admit_together([writes[n] for n in order])
    except RequestError as error:
        raise _placed(call, error, [(n, writes[n]) for n in order]) from None
    admissions = dict(zip(order, admitted, strict=True))
    results = []
    for n, request in enumerate(requests):
        admission = admissions.get(n) or Admission(request, None, existing[n])
        results.append(_result(await reply_of(call, admission)))
    return results


def _request(call: Call, entry: BundleEntry, n: int, key: str) -> Request:
    """The change an entry of a transaction asks for. Raises `RequestError` naming the entry."""
    try:
        one = _entry_call(call, entry)
        name, _, given_id = one.path.partition("/")
        kind = resource_type(one._replace(params={"type": name}))
        if kind in {"Subscription", "SubscriptionTopic"}:
            raise Unprocessable(Issue("not-supported", f"send a {kind} on its own or in a batch"))
        ops = {"POST": "create", "PUT": "put", "DELETE": "delete"}
        if one.method not in ops or one.query or "/" in given_id or (one.method == "POST") is bool(given_id):
            raise MethodNotAllowed(
                Issue(
                    "not-supported",
                    f"a transaction takes POST Type, PUT and DELETE Type/id, not {one.method} {entry.url}",
                )
            )
        if given_id:
            documents.check_id(given_id)
        if one.method != "DELETE":
            documents.check_type(one.body, kind)
        if one.method == "PUT" and documents.resource_id(one.body) != given_id:
            raise Unprocessable(
                Issue("invalid", f"an update needs the id {given_id!r} in its body", f"{kind}.id")
            )
        return Request(
            tenant=call.tenant,
            release=call.release,
            op=ops[one.method],  # type: ignore[arg-type]  # the values are the literals
            type=kind,
            id=given_id,
            body=b"" if one.method == "DELETE" else one.body,
            expected_version=one.expected_version,
            idempotency_key=f"key:{key}#{n}" if key else "",
            condition=condition(one.headers.get("if-none-exist", "")),
        )
    except RequestError as error:
        raise type(error)(*(_at_entry(issue, n) for issue in error.issues)) from None


def _at_entry(issue: Issue, n: int) -> Issue:
    """The issue with its place seen from the Bundle: `Patient.active` of entry 2 is `Bundle.entry[2].resource.active`."""
    place = f"Bundle.entry[{n}].request"
    if issue.expression:
        path = issue.expression
        inside = path.partition(".")[2] if path[0].isupper() else path
        place = f"Bundle.entry[{n}].resource" + (f".{inside}" if inside else "")
    return replace(issue, expression=place)


_ENTRY = re.compile(r"Bundle\.entry\[(\d+)\]")


def _placed(call: Call, error: RequestError, writes: Sequence[tuple[int, Request]]) -> RequestError:
    """A refusal of the ordered writes, told by the places of the entries they came from."""
    found = [_ENTRY.match(issue.expression or "") for issue in error.issues]
    if all(found):
        places = [f"Bundle.entry[{writes[int(match[1])][0]}]" for match in found if match]
        return type(error)(
            *(replace(issue, expression=place) for issue, place in zip(error.issues, places, strict=True))
        )
    for n, request in writes:
        if request.op == "delete":
            continue
        try:
            call.adapter.validate(request.type, request.body)
        except RequestError as own:
            return type(own)(*(_at_entry(issue, n) for issue in own.issues))
    return error


def _refuse_repeated(requests: Sequence[Request]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for n, request in enumerate(requests):
        if request.id and (request.type, request.id) in seen:
            text = f"{request.type}/{request.id} is in entry {seen[request.type, request.id]} too"
            raise Unprocessable(Issue("duplicate", text, f"Bundle.entry[{n}]"))
        seen[request.type, request.id] = n


def _placement(call: Call, requests: Sequence[Request]) -> int:
    """One for all ids the broker assigns here: with the patient they are about, if the Bundle names one."""
    for request in requests:
        patient = documents.patient_reference(request.body) if request.body else None
        if patient and patient.startswith("Patient/"):
            return keys.placement(call.tenant, patient.removeprefix("Patient/"))
    given = next((request.id for request in requests if request.id), None)
    if given:
        return keys.placement(
            call.tenant, given
        )  # with what the client placed: a Cluster writes one partition in a transaction
    seed = next((request.idempotency_key for request in requests if request.idempotency_key), "")
    return keys.placement(call.tenant, seed or uuid.uuid4().hex)
