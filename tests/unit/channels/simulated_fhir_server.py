"""A FHIR server in memory, for the tests of the channel that writes to one: its `send` takes the place of the
network.

It knows conditional requests, updates by id, transactions and searches by identifier. It refuses what
`refuses` names, and answers the prepared `answers` first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from broker.egress.http import HttpFailure, HttpResponse

BASE = "https://ehr.example/fhir"
JsonDict = dict[str, Any]


class _Refusal(Exception):  # noqa: N818 an answer
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class SimulatedFhirServer:
    """`resources` by `Type/id`; `requests` are method, path and body, in their order."""

    refuses: Callable[[JsonDict], str] = lambda _: ""
    max_entries: int = 1_000
    answers: list[HttpResponse | HttpFailure | None] = field(default_factory=list)
    resources: dict[str, JsonDict] = field(default_factory=dict)
    requests: list[tuple[str, str, JsonDict | str]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    """The first identifier value of each resource, in the order in which they were written."""
    statement: JsonDict = field(default_factory=dict)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        assert url == BASE or url.startswith(f"{BASE}/")
        path = url.removeprefix(BASE).removeprefix("/")
        is_form = ("Content-Type", "application/x-www-form-urlencoded") in headers
        content: JsonDict | str = body.decode() if is_form or not body else orjson.loads(body)
        self.requests.append((method, path, content))
        if self.answers:
            prepared = self.answers.pop(0)
            if prepared is not None:
                return prepared
        before = dict(self.resources), list(self.writes)
        try:
            return self._answer(method, path, content, dict(attempt_headers).get("If-None-Exist", ""))
        except _Refusal as refusal:
            self.resources, self.writes = before
            return refused(refusal.status, str(refusal))

    def add(self, resource: JsonDict) -> None:
        self.resources[f"{resource['resourceType']}/{resource['id']}"] = resource

    def _answer(self, method: str, path: str, content: JsonDict | str, if_none_exist: str) -> HttpResponse:
        if path == "metadata":
            return HttpResponse(200, None, orjson.dumps(self.statement))
        if path.endswith("/_search"):
            assert isinstance(content, str)
            return HttpResponse(200, None, self._search(path.removesuffix("/_search"), content))
        if path == "":
            assert isinstance(content, dict)
            return HttpResponse(200, None, self._transaction(content))
        status, reference = self._write(method, path, content, if_none_exist)
        location = f"{BASE}/{reference}/_history/1" if status == 201 else ""
        return HttpResponse(status, None, b"", location)

    def _transaction(self, bundle: JsonDict) -> bytes:
        if len(bundle["entry"]) > self.max_entries:
            raise _Refusal(413, "too many entries")
        ids: dict[str, str] = {}
        entries = []
        for entry in bundle["entry"]:
            request, resource = entry["request"], entry.get("resource", "")
            if resource:
                resource = orjson.loads(_with_links(orjson.dumps(resource).decode(), ids))
            status, reference = self._write(
                request["method"], request["url"], resource, request.get("ifNoneExist", "")
            )
            ids[entry["fullUrl"]] = reference
            entries.append({"response": {"status": str(status), "location": f"{reference}/_history/1"}})
        return orjson.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    def _write(self, method: str, path: str, resource: JsonDict | str, if_none_exist: str) -> tuple[int, str]:
        resource_type, _, query = path.partition("?")
        if method == "DELETE":
            found = self._found(resource_type, query) if query else [path]
            for reference in found:
                self.resources.pop(reference, None)
            return 204, path
        assert isinstance(resource, dict)
        reason = self.refuses(resource)
        if reason:
            raise _Refusal(422, reason)
        if method == "POST":
            found = self._found(resource_type, if_none_exist) if if_none_exist else []
            if found:
                return 200, found[0]
        elif not query:
            is_new = path not in self.resources
            self._store(path, resource)
            return 201 if is_new else 200, path
        else:
            found = self._found(resource_type, query)
            if len(found) > 1:
                raise _Refusal(412, "several matches")
            if found:
                self._store(found[0], resource)
                return 200, found[0]
        reference = f"{resource_type}/ehr-{len(self.resources) + 1}"
        self._store(reference, resource)
        return 201, reference

    def _store(self, reference: str, resource: JsonDict) -> None:
        self.resources[reference] = resource | {"id": reference.partition("/")[2]}
        self.writes.append(resource.get("identifier", [{}])[0].get("value", resource.get("id", "")))

    def _search(self, resource_type: str, query: str) -> bytes:
        entries = [
            {"resource": self.resources[reference], "search": {"mode": "match"}}
            for reference in self._found(resource_type, query)
        ]
        return orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries})

    def _found(self, resource_type: str, query: str) -> list[str]:
        wanted = {
            tuple(token.split("|", 1)) for token in unquote(query.removeprefix("identifier=")).split(",")
        }
        return [
            reference
            for reference, resource in self.resources.items()
            if reference.startswith(f"{resource_type}/")
            and any(
                (identifier.get("system", ""), identifier.get("value", "")) in wanted
                for identifier in resource.get("identifier", [])
            )
        ]


def refused(status: int, text: str, retry_after_s: float | None = None) -> HttpResponse:
    """An answer with an OperationOutcome."""
    issue = {"severity": "error", "code": "processing", "diagnostics": text}
    body = orjson.dumps({"resourceType": "OperationOutcome", "issue": [issue]})
    return HttpResponse(status, retry_after_s, body)


def _with_links(text: str, ids: dict[str, str]) -> str:
    for full_url, reference in ids.items():
        text = text.replace(full_url, reference)
    return text
