"""Device gateways that go on whatever happens: several requests under way, each repeated under its key until its answer is known.

One lane is one patient's devices: it makes one change after the other, some of them to the same resource, and goes on to the next
only when it knows what became of the one before.
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
from tests.faults.history import Answer, Change, History, Requested
from tests.faults.listener import now_ms

_AT = "2025-03-01T08:00:00Z"
_PAUSE_S = 0.1
_TIMEOUT = aiohttp.ClientTimeout(total=15)


def reading(one: str, patient: str, sequence: int) -> dict[str, Any]:
    """The body of a change: which one it is can be read from it."""
    return observation(HEART_RATE, patient, _AT, sequence) | {"id": one}


@dataclass(slots=True)
class Producer:
    """Sends to the API processes in turn. `acknowledged` are the changes answered 2xx, by patient."""

    history: History
    bases: Sequence[str]
    per_resource: int = 3
    give_up_s: float = 60.0
    is_stopped: bool = False
    acknowledged: dict[str, list[Requested]] = field(default_factory=dict)
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
        """Changes of one patient at a rate, as long as the broker keeps up, until told to stop."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for resource in self._resources:
            for sequence in range(1, self.per_resource + 1):
                if until() or self.is_stopped:
                    return
                await self.change(f"{patient}-{resource}", patient, sequence)
                due = max(due + 1 / per_s, loop.time() - 1)
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def send(self, patient: str, count: int) -> list[Requested]:
        """So many changes of one patient, one after the other."""
        made: list[Requested] = []
        while len(made) < count:
            one = f"{patient}-{next(self._resources)}"
            sequences = range(1, min(self.per_resource, count - len(made)) + 1)
            made += [await self.change(one, patient, sequence) for sequence in sequences]
        return made

    async def try_once(self, one: str, patient: str, sequence: int) -> tuple[Answer, int]:
        """One request for a change, not repeated and not in the history: the answer, and the version it made."""
        return await self._put(one, patient, sequence)

    def acknowledge(self, one: str, patient: str, sequence: int, begun_ms: float) -> None:
        """Notes a change that `try_once` saw accepted as its first version."""
        resource = f"Observation/{one}"
        self.note(Requested(resource, sequence, patient, begun_ms, now_ms(), Answer.ACKNOWLEDGED, 1))

    async def change(self, one: str, patient: str, sequence: int) -> Requested:
        """One change, asked for until its answer is known or `give_up_s` is over; goes into the history."""
        begun = now_ms()
        answer, version, attempts = Answer.UNKNOWN, 0, 0
        while answer is Answer.UNKNOWN and now_ms() - begun < self.give_up_s * 1000:
            if attempts:
                await asyncio.sleep(_PAUSE_S)
            attempts += 1
            answer, version = await self._put(one, patient, sequence)
        requested = Requested(
            f"Observation/{one}", sequence, patient, begun, now_ms(), answer, version, attempts
        )
        self.note(requested)
        return requested

    def note(self, requested: Requested) -> None:
        self.history.add(requested)
        if requested.answer is Answer.ACKNOWLEDGED:
            self.acknowledged.setdefault(requested.patient, []).append(requested)

    async def _put(self, one: str, patient: str, sequence: int) -> tuple[Answer, int]:
        assert self._session is not None
        url = f"{self.bases[next(self._turn) % len(self.bases)]}/r4/Observation/{one}"
        body = orjson.dumps(reading(one, patient, sequence))
        headers = {
            "Content-Type": "application/fhir+json",
            "Prefer": "return=minimal",
            "Idempotency-Key": f"{one}-{sequence}",
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


def changes(requests: Sequence[Requested]) -> set[Change]:
    return {one.change for one in requests}
