"""Resources of any type: create, read, vread, update, delete. Every accepted change is durable before its 2xx."""

from urllib.parse import unquote

from starlette.datastructures import QueryParams

from broker.api.responses import Call, Reply, version_headers
from broker.errors import Gone, Issue, MethodNotAllowed, NotAcceptable, NotFound, Unprocessable
from broker.fhir import documents
from broker.fhir.conversion import convert
from broker.ingest.intake import Admission, Request
from broker.model.change import Version, VersionKey
from broker.store.proposals import Acceptance


def resource_type(call: Call) -> str:
    """The type in the URL; raises `NotFound` for one the release doesn't have."""
    name = call.params["type"]
    if name not in call.adapter.resource_types:
        raise NotFound(Issue("not-supported", f"{name!r} is no resource type of FHIR {call.adapter.version}"))
    return name


def condition(query: str) -> str:
    """The identifier token of `identifier=system|value`, the one condition the broker keeps an index for."""
    if not query:
        return ""
    terms = QueryParams(query.lstrip("?")).multi_items()
    if len(terms) != 1 or terms[0][0] != "identifier" or not terms[0][1].rpartition("|")[2]:
        text = f"If-None-Exist takes identifier=system|value alone, not {unquote(query)!r}"
        raise Unprocessable(Issue("not-supported", text))
    value = terms[0][1]
    return value if "|" in value else f"|{value}"


async def create(call: Call) -> Reply:
    """201; a repetition under the same Idempotency-Key or If-None-Exist answers 200 or 201 and makes no second event."""
    name = resource_type(call)
    documents.check_type(call.body, name)
    admission = await call.services.intake.admit(
        Request(
            tenant=call.tenant,
            release=call.release,
            op="create",
            type=name,
            body=call.body,
            idempotency_key=idempotency_key(call),
            condition=condition(call.headers.get("if-none-exist", "")),
        )
    )
    return await reply_of(call, admission)


async def update(call: Call) -> Reply:
    """Replaces the resource, or creates it under that id."""
    name, one = resource_type(call), call.params["id"]
    documents.check_id(one)
    documents.check_type(call.body, name)
    admission = await call.services.intake.admit(
        Request(
            tenant=call.tenant,
            release=call.release,
            op="put",
            type=name,
            id=one,
            body=call.body,
            expected_version=call.expected_version,
            idempotency_key=idempotency_key(call),
        )
    )
    return await reply_of(call, admission)


async def delete(call: Call) -> Reply:
    """204, a second time too; the deletion is a change like any other."""
    name, one = resource_type(call), call.params["id"]
    documents.check_id(one)
    admission = await call.services.intake.admit(
        Request(
            tenant=call.tenant,
            release=call.release,
            op="delete",
            type=name,
            id=one,
            expected_version=call.expected_version,
            idempotency_key=idempotency_key(call),
        )
    )
    return await reply_of(call, admission)


def idempotency_key(call: Call) -> str:
    key = call.headers.get("idempotency-key", "").strip()
    if len(key) > 256:
        raise Unprocessable(Issue("too-long", "an Idempotency-Key has at most 256 characters"))
    return f"key:{key}" if key else ""


async def reply_of(call: Call, admission: Admission) -> Reply:
    """The HTTP answer to an admitted change."""
    name, accepted = admission.request.type, admission.accepted
    if accepted is None:
        version = await call.services.resources.current(call.tenant, name, admission.existing_id)
        if version is None:
            raise NotFound(Issue("not-found", f"{name}/{admission.existing_id} was removed meanwhile"))
        return _found(call, version)
    headers = version_headers(accepted.key.version, accepted.at_ms)
    location = call.url(f"{accepted.key.reference}/_history/{accepted.key.version}")
    match accepted.status:
        case Acceptance.DELETED | Acceptance.GONE:
            return Reply(204, headers={"ETag": headers["ETag"]})
        case Acceptance.REPLAYED if admission.request.op == "delete":
            return Reply(204, headers={"ETag": headers["ETag"]})
        case Acceptance.REPLAYED:
            version = await call.services.resources.version(accepted.key)
            status, stored = 200, b"" if version is None else version.body or b""
        case _:
            status, stored = 201 if accepted.status is Acceptance.CREATED else 200, admission.stored
    body = b"" if call.wants_minimal else stored
    return Reply(status, body, {**headers, "Location": location})


def _found(call: Call, version: Version) -> Reply:
    headers = version_headers(version.key.version, version.at_ms)
    headers["Location"] = call.url(f"{version.key.reference}/_history/{version.key.version}")
    body = b"" if call.wants_minimal else _body(call, version)
    return Reply(200, body, headers)


def _body(call: Call, version: Version) -> bytes:
    """The stored bytes in the release of the base; raises `Gone` or `NotAcceptable`."""
    if version.body is None:
        raise Gone(Issue("deleted", f"{version.key.reference} was deleted"))
    converted = convert(version.body, version.key.type, version.release, call.release)
    if converted is None:
        text = (
            f"{version.key.reference} was written as {version.release}, and there is no conversion to "
            f"{call.release}; read it at /{version.release}"
        )
        raise NotAcceptable(Issue("not-supported", text))
    return converted


async def read(call: Call) -> Reply:
    name, one = resource_type(call), call.params["id"]
    version = await call.services.resources.current(call.tenant, name, one)
    if version is None:
        raise NotFound(Issue("not-found", f"there is no {name}/{one}"))
    return _reading(call, version)


async def vread(call: Call) -> Reply:
    name, one, number = resource_type(call), call.params["id"], call.params["version"]
    version = None
    if number.isdigit() and len(number) < 16:
        version = await call.services.resources.version(VersionKey(call.tenant, name, one, int(number)))
    if version is None:
        raise NotFound(
            Issue("not-found", f"{name}/{one} has no version {number}, or it is older than what is retained")
        )
    return _reading(call, version)


def _reading(call: Call, version: Version) -> Reply:
    body = _body(call, version)
    headers = version_headers(version.key.version, version.at_ms)
    if call.headers.get("if-none-match") == headers["ETag"]:
        return Reply(304, headers=headers)
    return Reply(200, body, headers)


async def refuse_search(call: Call) -> Reply:
    name = resource_type(call)
    text = f"the broker does not search {name}: it keeps resources to notify about them; search the EHR"
    raise MethodNotAllowed(Issue("not-supported", text))


async def refuse_conditional(call: Call) -> Reply:
    text = "conditional update, conditional delete and patch are not supported; name the resource by its id"
    raise MethodNotAllowed(Issue("not-supported", f"{call.path}: {text}"))
