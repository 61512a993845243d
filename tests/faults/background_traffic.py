"""Background traffic during a fault: registrations, half of which fail their handshake, and a gateway that
writes to the inbox.

Without it, processes would never pass many of the failpoints during a scenario.
"""

import asyncio
import contextlib
import itertools
from types import TracebackType
from typing import Self

import httpx
import orjson
from redis.exceptions import RedisError

from broker.testing.registration import subscription
from tests.faults.history import Answer, ChangeRequest, History
from tests.faults.listener import Endpoint, answering, now_ms
from tests.faults.producer import reading
from tests.faults.rig import VITAL_SIGNS, Rig

INBOX_PATIENT = "walker"
"""The patient whose readings arrive through the inbox stream. An endpoint that subscribes to it must receive
them.
"""
_PAUSE_S = 0.05


class BackgroundTraffic:
    """Runs while it is entered, or until `stop`. Its subscriptions match nothing."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._accepting = Endpoint("traffic", History())
        self._failing = Endpoint("ill", History())
        self._failing.behaviour = answering(400)
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.registered = 0

    async def __aenter__(self) -> Self:
        await self._accepting.open()
        await self._failing.open()
        self._tasks = [asyncio.create_task(self._register()), asyncio.create_task(self._write())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._accepting.close()
        await self._failing.close()

    async def stop(self) -> None:
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    async def _register(self) -> None:
        for endpoint in itertools.cycle((self._accepting, self._failing)):
            if self._stopped.is_set():
                return
            document = subscription(
                "r4", VITAL_SIGNS, endpoint.url, content="id-only", filters=["patient=Patient/nobody"]
            )
            with contextlib.suppress(httpx.TransportError):  # the API process was killed
                async with self._rig.client() as client:
                    response = await client.post("/r4/Subscription", json=document)
                    self.registered += response.status_code == 201
            await self._pause()

    async def _write(self) -> None:
        async with self._rig.store_client() as client:
            for number in itertools.count(1):
                if self._stopped.is_set():
                    return
                resource_id, started_ms = f"{INBOX_PATIENT}-{number}", now_ms()
                fields: dict[str, bytes | str] = {
                    "resource": orjson.dumps(reading(resource_id, INBOX_PATIENT, 1)),
                    "interaction": "update",
                    "release": "r4",
                    "key": resource_id,
                }
                with contextlib.suppress(RedisError):  # the store was killed: the entry may be written or not
                    await client.xadd("fhir:inbox", fields)  # type: ignore[arg-type]  # dict is invariant
                    self._rig.producer.record(
                        ChangeRequest(
                            f"Observation/{resource_id}",
                            1,
                            INBOX_PATIENT,
                            started_ms,
                            now_ms(),
                            Answer.ACKNOWLEDGED,
                        )
                    )
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._stopped.wait()
