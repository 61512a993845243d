"""Device gateways that send during every fault and repeat a request under its idempotency key until they get
an answer.

A lane stands for the devices of one patient. It sends one change after the other, several of them to the same
resource, and waits for a definite answer before the next change.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from broker.testing.readings import HEART_RATE, observation
from tests.faults.history import Answer, ChangeRequest, History
from tests.faults.listener import now_ms

_AT = "2025-03-01T08:00:00Z"
_PAUSE_S = 0.1
_TIMEOUT = aiohttp.ClientTimeout(total=15)


def reading(resource_id: str, patient: str, sequence: int) -> dict[str, Any]:
    """The body of a change. Its value is the sequence number of the change."""
    return observation(HEART_RATE, patient, _AT, sequence) | {"id": resource_id}


@dataclass(slots=True)
class Producer:
    """Sends to the API processes in turn. `acknowledged` are the changes that were answered with 2xx, by
    patient.
    """

    history: History
    bases: Sequence[str]
    per_resource: int = 3
    give_up_s: float = 60.0
    is_stopped: bool = False
    acknowledged: dict[str, list[ChangeRequest]] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)
    _resources: "itertools.count[int]" = field(default_factory=itertools.count)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2), trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def lane(self, patient: str, *, per_s: float, until: Callable[[], bool]) -> None:
        """Sends changes of one patient at this rate, if the broker keeps up, until `until` holds or the
        producer stops.
        """
        loop = asyncio.get_running_loop()
        due = loop.time()
        for resource in self._resources:
            for sequence in range(1, self.per_resource + 1):
                if until() or self.is_stopped:
                    return
                await self.change(f"{patient}-{resource}", patient, sequence)
                due = max(due + 1 / per_s, loop.time() - 1)
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def send(self, patient: str, count: int) -> list[ChangeRequest]:
        """Sends `count` changes of one patient, one after the other."""
        sent: list[ChangeRequest] = []
        while len(sent) < count:
            resource_id = f"{patient}-{next(self._resources)}"
            sequences = range(1, min(self.per_resource, count - len(sent)) + 1)
            sent += [await self.change(resource_id, patient, sequence) for sequence in sequences]
        return sent

    async def try_once(self, resource_id: str, patient: str, sequence: int) -> tuple[Answer, int]:
        """Sends one request, without repetition and without a record in the history. Returns the answer and
        the new version.
        """
        return await self._put(resource_id, patient, sequence)

    def acknowledge(self, resource_id: str, patient: str, sequence: int, started_ms: float) -> None:
        """Records a change that `try_once` saw accepted as its first version."""
        resource = f"Observation/{resource_id}"
        self.record(ChangeRequest(resource, sequence, patient, started_ms, now_ms(), Answer.ACKNOWLEDGED, 1))

    async def change(self, resource_id: str, patient: str, sequence: int) -> ChangeRequest:
        """Sends one change until it gets a definite answer or `give_up_s` is over, and records it in the
        history.
        """
        started_ms = now_ms()
        answer, version, attempts = Answer.UNKNOWN, 0, 0
        while answer is Answer.UNKNOWN and now_ms() - started_ms < self.give_up_s * 1000:
            if attempts:
                await asyncio.sleep(_PAUSE_S)
            attempts += 1
            answer, version = await self._put(resource_id, patient, sequence)
        requested = ChangeRequest(
            f"Observation/{resource_id}", sequence, patient, started_ms, now_ms(), answer, version, attempts
        )
        self.record(requested)
        return requested

    def record(self, requested: ChangeRequest) -> None:
        self.history.add(requested)
        if requested.answer is Answer.ACKNOWLEDGED:
            self.acknowledged.setdefault(requested.patient, []).append(requested)

    async def _put(self, resource_id: str, patient: str, sequence: int) -> tuple[Answer, int]:
        assert self._session is not None
        url = f"{self.bases[next(self._turn) % len(self.bases)]}/r4/Observation/{resource_id}"
        body = orjson.dumps(reading(resource_id, patient, sequence))
        headers = {
            "Content-Type": "application/fhir+json",
            "Prefer": "return=minimal",
            "Idempotency-Key": f"{resource_id}-{sequence}",
        }
        try:
            async with self._session.put(url, data=body, headers=headers) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return Answer.UNKNOWN, 0
        if response.status < 300:
            return Answer.ACKNOWLEDGED, int(response.headers["ETag"].strip('W/"'))
        is_refused = 400 <= response.status < 500 and response.status not in {408, 429}
        return (Answer.REFUSED if is_refused else Answer.UNKNOWN), 0
