"""Comings and goings beside the load: subscriptions are registered all the time, half of them to fail their handshake, and a gateway
writes to the inbox stream. Without it, many places of the broker would never be passed while something is broken.
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
from tests.faults.history import Answer, History, Requested
from tests.faults.listener import Endpoint, answering, now_ms
from tests.faults.producer import reading
from tests.faults.rig import VITAL_SIGNS, Rig

INBOX_PATIENT = "walker"
"""Whose readings come by the inbox stream: an endpoint that subscribes to it is owed them."""
_PAUSE_S = 0.05


class BackgroundTraffic:
    """Goes on while it is entered, or until `stop`. Its subscriptions match nothing."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._well = Endpoint("traffic", History())
        self._ill = Endpoint("ill", History())
        self._ill.behaviour = answering(400)
        self._is_over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.registered = 0

    async def __aenter__(self) -> Self:
        await self._well.open()
        await self._ill.open()
        self._tasks = [asyncio.create_task(self._register()), asyncio.create_task(self._write())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._well.close()
        await self._ill.close()

    async def stop(self) -> None:
        self._is_over.set()
        await asyncio.gather(*self._tasks)

    async def _register(self) -> None:
        for endpoint in itertools.cycle((self._well, self._ill)):
            if self._is_over.is_set():
                return
            document = subscription(
                "r4", VITAL_SIGNS, endpoint.url, content="id-only", filters=["patient=Patient/nobody"]
            )
            with contextlib.suppress(httpx.TransportError):  # the API was killed: the next one may do
                async with self._rig.client() as client:
                    response = await client.post("/r4/Subscription", json=document)
                    self.registered += response.status_code == 201
            await self._pause()

    async def _write(self) -> None:
        async with self._rig.asking() as client:
            for number in itertools.count(1):
                if self._is_over.is_set():
                    return
                one, begun = f"{INBOX_PATIENT}-{number}", now_ms()
                fields: dict[str, bytes | str] = {
                    "resource": orjson.dumps(reading(one, INBOX_PATIENT, 1)),
                    "interaction": "update",
                    "release": "r4",
                    "key": one,
                }
                with contextlib.suppress(RedisError):  # the store was killed: nobody knows what became of it
                    await client.xadd("fhir:inbox", fields)  # type: ignore[arg-type]  # dict is invariant
                    self._rig.producer.note(
                        Requested(
                            f"Observation/{one}", 1, INBOX_PATIENT, begun, now_ms(), Answer.ACKNOWLEDGED
                        )
                    )
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._is_over.wait()
