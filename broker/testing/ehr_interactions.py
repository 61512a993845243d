"""The FHIR interactions of a simulated EHR: what each request does, and its answer. No sockets."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

import orjson

from broker.testing.ehr_faults import Fault, WriteConcurrently, WriteTwice
from broker.testing.ehr_outcomes import EhrRefusal
from broker.testing.ehr_profiles import SUPPORTED
from broker.testing.ehr_search import CONTROLS, Query, search_parameters
from broker.testing.ehr_store import EhrStore, StoredVersion, relinked

_ORDER = ("DELETE", "POST", "PUT", "GET")
"""In which a transaction does its entries."""
_LETTERS = {"POST": "c", "PUT": "u", "DELETE": "d", "GET": "r"}


class Request(Protocol):
    """What an interaction reads of an HTTP request."""

    @property
    def method(self) -> str: ...

    @property
    def query_string(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """The request of a Bundle's entry."""

    method: str
    query_string: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EhrResponse:
    """Status, JSON body and headers of an answer."""

    status: int
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class EhrInteractions:
    """Carries out the interactions on the store."""

    def __init__(self, store: EhrStore, max_entries: int) -> None:
        self._store = store
        self._max_entries = max_entries

    def needs(self, method: str, path: str, body: bytes) -> Iterator[tuple[str, str]]:
        """The types and letters of the scopes that a request needs: for a Bundle those of its entries."""
        kind, _, rest = path.partition("/")
        if not kind:
            for entry in _requests(_json(body)):
                yield from self.needs(entry["method"], entry["url"].partition("?")[0], b"")
        elif (method == "GET" and not rest) or rest == "_search":
            yield kind, "s"
        else:
            yield kind, _LETTERS.get(method, "r")

    def answer(self, request: Request, path: str, body: bytes, fault: Fault | None, base: str) -> EhrResponse:
        """Raises `EhrRefusal`."""
        if path == "metadata":
            return EhrResponse(200, _capabilities(base))
        if isinstance(fault, WriteConcurrently):
            for reference in [path] if path else [each["url"] for each in _requests(_json(body))]:
                self._store.touch(reference)
        if isinstance(fault, WriteTwice):
            self._act(request, path, body, base)
        return self._act(request, path, body, base)

    def _act(self, request: Request, path: str, body: bytes, base: str) -> EhrResponse:
        if not path and request.method == "POST":
            return self._bundle(_json(body), base)
        return self._interact(request, path, body, base)

    def _interact(self, request: Request, path: str, body: bytes, base: str, new_id: str = "") -> EhrResponse:
        """A resource that gets its id here gets `new_id`, if there is one."""
        kind, _, rest = path.partition("/")
        query = parse_qsl(request.query_string, keep_blank_values=True)
        match request.method, rest:
            case "GET", "":
                return self._search(kind, query, base)
            case "POST", "_search":
                return self._search(kind, parse_qsl(body.decode()), base)
            case "POST", "":
                condition = parse_qsl(_header(request, "If-None-Exist"))
                return _written(*self._store.create(kind, _json(body), condition, new_id), base)
            case "PUT", "":
                return _written(*self._store.update_by(kind, query, _json(body), new_id), base)
            case "PUT", own_id:
                return _written(*self._store.update(kind, own_id, _json(body), _if_match(request)), base)
            case "DELETE", own_id:
                if own_id:
                    self._store.delete(kind, own_id)
                else:
                    self._store.delete_by(kind, query)
                return EhrResponse(204)
            case "GET", own_id if "/" not in own_id:
                return _read(self._store.read(kind, own_id))
            case "GET", _:
                return self._history(kind, rest)
            case _:
                raise EhrRefusal(405, "not-supported", f"The EHR has no {request.method} {path}.")

    def _search(self, type: str, query: Query, base: str) -> EhrResponse:
        fitting = self._store.find(type, query)
        controls = {name: value for name, value in query if name in CONTROLS}
        if controls.get("_sort", "").startswith("-"):
            fitting.reverse()
        total = len(fitting)
        count, skip = _number(controls, "_count", 100), _number(controls, "_skip", 0)
        page = fitting[skip : skip + count]
        links = [{"relation": "self", "url": f"{base}/{type}?{urlencode(query)}"}]
        if skip + count < total and count:
            rest = [(name, value) for name, value in query if name != "_skip"]
            following = urlencode([*rest, ("_skip", str(skip + count))])
            links.append({"relation": "next", "url": f"{base}/{type}?{following}"})
        entries = [
            {"fullUrl": f"{base}/{each.reference}", "resource": each.resource, "search": {"mode": "match"}}
            for each in page
        ]
        return EhrResponse(200, _bundle("searchset", entries) | {"total": total, "link": links})

    def _history(self, type: str, rest: str) -> EhrResponse:
        own_id, _, version = rest.partition("/_history")
        versions = self._store.history(f"{type}/{own_id}")
        if number := version.removeprefix("/"):
            for each in versions:
                if str(each.version) == number:
                    return _read(each)
            raise EhrRefusal(404, "not-found", f"{type}/{own_id} has no version {number}.")
        entries = [
            {
                "resource": each.resource,
                "request": {"method": "DELETE" if each.resource is None else "PUT", "url": each.reference},
                "response": {"status": "204" if each.resource is None else "200", "etag": _etag(each)},
            }
            for each in versions
        ]
        return EhrResponse(200, _bundle("history", entries) | {"total": len(entries)})

    def _bundle(self, bundle: Mapping[str, Any], base: str) -> EhrResponse:
        entries = bundle.get("entry", [])
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") not in {"transaction", "batch"}:
            raise EhrRefusal(400, "invalid", "The body is no transaction and no batch.")
        if len(_requests(bundle)) > self._max_entries:
            raise EhrRefusal(413, "too-costly", f"A Bundle may have {self._max_entries} entries.")
        if bundle["type"] == "batch":
            responses = [self._batch_entry(entry, base) for entry in entries]
        else:
            with self._store.all_or_nothing():
                responses = self._transaction(entries, base)
        return EhrResponse(200, _bundle(f"{bundle['type']}-response", responses))

    def _transaction(self, entries: list[dict[str, Any]], base: str) -> list[dict[str, Any]]:
        """The responses in the order of the entries. Links to created entries count, whatever the order."""
        responses: dict[int, dict[str, Any]] = {}
        references = self._references(entries)
        for method in _ORDER:
            for n, entry in enumerate(entries):
                if entry["request"]["method"] == method:
                    new_id = references.get(entry.get("fullUrl", ""), "").partition("/")[2]
                    responses[n] = self._entry(relinked(entry, references), base, new_id)
        return [responses[n] for n in range(len(entries))]

    def _references(self, entries: list[dict[str, Any]]) -> dict[str, str]:
        """What the fullUrls become: ids are given to creates before anything is written."""
        references = {}
        for entry in entries:
            request, resource = entry["request"], entry.get("resource")
            if resource is None or "fullUrl" not in entry:
                continue
            kind, _, query = request["url"].partition("?")
            condition = request.get("ifNoneExist", query)
            fitting = self._store.find(kind, parse_qsl(condition)) if condition else []
            if fitting:
                references[entry["fullUrl"]] = fitting[0].reference
            elif request["method"] == "POST" or query:
                own_id = resource.get("id") if query else None
                references[entry["fullUrl"]] = f"{kind}/{own_id or uuid.uuid4()}"
            else:
                references[entry["fullUrl"]] = request["url"]
        return references

    def _batch_entry(self, entry: dict[str, Any], base: str) -> dict[str, Any]:
        try:
            return self._entry(entry, base)
        except EhrRefusal as refusal:
            return {"response": {"status": str(refusal.status), "outcome": refusal.outcome}}

    def _entry(self, entry: Mapping[str, Any], base: str, new_id: str = "") -> dict[str, Any]:
        wanted = entry["request"]
        path, _, query = wanted["url"].partition("?")
        names = {"If-None-Exist": "ifNoneExist", "If-Match": "ifMatch"}
        headers = {name: wanted[member] for name, member in names.items() if member in wanted}
        request = EntryRequest(wanted["method"], query, headers)
        answer = self._interact(request, path, orjson.dumps(entry.get("resource")), base, new_id)
        response: dict[str, Any] = {"status": str(answer.status)}
        response |= {
            member: answer.headers[name]
            for name, member in {"Location": "location", "ETag": "etag"}.items()
            if name in answer.headers
        }
        return {"response": response} | ({"resource": answer.body} if wanted["method"] == "GET" else {})


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise EhrRefusal(400, "structure", f"The body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise EhrRefusal(400, "structure", "The body is no JSON object.")
    return document


def _requests(bundle: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The requests of the entries. Raises `EhrRefusal` if one has none."""
    requests = [entry.get("request", {}) for entry in bundle.get("entry", [])]
    for request in requests:
        if request.get("method") not in _ORDER or not request.get("url"):
            raise EhrRefusal(400, "required", "An entry has no request with a method and a URL.")
    return requests


def _number(controls: Mapping[str, str], name: str, default: int) -> int:
    text = controls.get(name, str(default))
    if not text.isdecimal():
        raise EhrRefusal(400, "invalid", f"{name}={text} is no number.")
    return int(text)


def _header(request: Request, name: str) -> str:
    return request.headers.get(name, "")


def _if_match(request: Request) -> int | None:
    etag = _header(request, "If-Match")
    if not etag:
        return None
    version = etag.removeprefix("W/").strip('"')
    if not version.isdecimal():
        raise EhrRefusal(412, "conflict", f"No version has the ETag {etag}.")
    return int(version)


def _etag(stored: StoredVersion) -> str:
    return f'W/"{stored.version}"'


def _written(stored: StoredVersion, is_new: bool, base: str) -> EhrResponse:
    location = f"{base}/{stored.reference}/_history/{stored.version}"
    headers = {"ETag": _etag(stored), "Location": location}
    return EhrResponse(201 if is_new else 200, stored.resource, headers)


def _read(stored: StoredVersion) -> EhrResponse:
    if stored.resource is None:
        raise EhrRefusal(410, "deleted", f"{stored.reference} was deleted.")
    return EhrResponse(200, stored.resource, {"ETag": _etag(stored)})


def _bundle(type: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type, "entry": entries}


def _capabilities(base: str) -> dict[str, Any]:
    interactions = ("read", "vread", "create", "update", "delete", "history-instance", "search-type")
    types = ("Observation", "Device", "DeviceMetric", "Patient", "Encounter", "DiagnosticReport")
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2025-11-26",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "software": {"name": "simulated EHR"},
        "implementation": {"description": "A simulated EHR for tests", "url": base},
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": name,
                        "interaction": [{"code": code} for code in interactions],
                        "versioning": "versioned-update",
                        "updateCreate": True,
                        "conditionalCreate": True,
                        "conditionalUpdate": True,
                        "conditionalDelete": "single",
                        "searchParam": search_parameters(),
                    }
                    | ({"supportedProfile": list(SUPPORTED)} if name == "Observation" else {})
                    for name in types
                ],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
