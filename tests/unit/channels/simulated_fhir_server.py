"""The simulated EHR without a network, for the tests of the channel that writes to one: its `send` takes the
place of the egress client.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from broker.clock import SystemClock
from broker.egress.http import HttpFailure, HttpResponse
from broker.testing.ehr_interactions import EhrInteractions, EntryRequest
from broker.testing.ehr_outcomes import EhrRefusal
from broker.testing.ehr_store import EhrStore

BASE = "https://ehr.example/fhir"
JsonDict = dict[str, Any]


@dataclass
class SimulatedFhirServer:
    """It refuses what `refuses` names, and answers the prepared `answers` first. `requests` are method, path
    and body, in their order; `statement` is its CapabilityStatement, if that is not the simulated EHR's.
    """

    refuses: Callable[[JsonDict], str] = lambda _: ""
    max_entries: int = 1_000
    answers: list[HttpResponse | HttpFailure | None] = field(default_factory=list)
    requests: list[tuple[str, str, JsonDict | str]] = field(default_factory=list)
    statement: JsonDict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._store = EhrStore(SystemClock(), self._problems)

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
        if path == "metadata" and self.statement:
            return HttpResponse(200, None, orjson.dumps(self.statement))
        path, _, query = path.partition("?")
        request = EntryRequest(method, query, dict(headers + attempt_headers))
        try:
            answer = EhrInteractions(self._store, self.max_entries).answer(request, path, body, None, BASE)
        except EhrRefusal as refusal:
            return HttpResponse(refusal.status, None, orjson.dumps(refusal.outcome))
        shown = b"" if answer.body is None else orjson.dumps(answer.body)
        return HttpResponse(answer.status, None, shown, answer.headers.get("Location", ""))

    def add(self, resource: JsonDict) -> None:
        self._store.update(resource["resourceType"], resource["id"], resource)

    def resources(self, type: str) -> list[Mapping[str, Any]]:
        return list(self._store.resources(type))

    def _problems(self, document: Mapping[str, Any]) -> list[str]:
        reason = self.refuses(dict(document))
        return [reason] if reason else []

    @property
    def writes(self) -> list[str]:
        """The first identifier value of each Observation, in the order in which they were written."""
        documents = [each.resource for each in self._store.writes if each.type == "Observation"]
        return [
            each["identifier"][0]["value"] if "identifier" in each else each["id"]
            for each in documents
            if each is not None
        ]


def refused(status: int, text: str, retry_after_s: float | None = None) -> HttpResponse:
    """An answer with an OperationOutcome."""
    return HttpResponse(status, retry_after_s, orjson.dumps(EhrRefusal(status, "processing", text).outcome))
