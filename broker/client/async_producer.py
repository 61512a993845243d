"""Sends readings and FHIR resources to a broker, for programs with asyncio.

async with AsyncProducer("http://127.0.0.1:8080", buffer=Path("gateway.db")) as producer:
await producer.put(reading({"device": "m7", "hr": 72, "at": "2025-03-01T08:00:00Z"}))
"""

import asyncio
import contextlib
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from broker.client.answer import Answer, RetryPolicy
from broker.client.buffer import MAX_BYTES, MAX_MESSAGES
from broker.client.message import Message
from broker.client.outbox import BaseProducer, Outbox
from broker.client.producer import TIMEOUT_S
from broker.errors import ConfigurationError


class AsyncProducer(BaseProducer):
    """`Producer` for asyncio: the same promises, with a task in place of the thread. Disk writes are done in
    a thread, so that the event loop goes on.
    """

    def __init__(
        self,
        base: str,
        *,
        buffer: Path | None = None,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        auth: httpx.Auth | None = None,
        policy: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(base, buffer, max_messages, max_bytes, policy)
        self._client = httpx.AsyncClient(
            auth=auth,
            transport=transport,
            timeout=timeout_s,
            trust_env=transport is None,
            verify=True if tls is None else tls,
        )
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._outbox is not None:
            self._task = asyncio.create_task(self._drain(self._outbox), name="producer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends at once; a request under way is sent again by the next process, with the same key. What is in
        the buffer stays there.
        """
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._client.aclose()
        if self._outbox is not None:
            self._outbox.buffer.close()

    async def send(self, message: Message) -> Answer:
        """As `Producer.send`."""
        attempts = self._attempts()
        while True:
            settled = attempts.settle(await self._exchange(message))
            if isinstance(settled, Answer):
                return settled
            await asyncio.sleep(settled)

    async def put(self, *messages: Message) -> None:
        """As `Producer.put`. If it is cancelled, the messages may be in the buffer or not."""
        await asyncio.to_thread(self._buffered().buffer.append, *messages)
        async with self._changed:
            self._changed.notify_all()

    async def flush(self, timeout_s: float | None = None) -> bool:
        """As `Producer.flush`."""
        outbox = self._buffered()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: outbox.next() is None)
        return outbox.next() is None

    async def _drain(self, outbox: Outbox) -> None:
        while True:
            try:
                buffered = outbox.next()
                if buffered is None:
                    async with self._changed:
                        self._changed.notify_all()
                        await self._changed.wait_for(lambda: outbox.next() is not None)
                    continue
                result = await self._exchange(buffered.message)
                pause_s = await asyncio.to_thread(outbox.settle, buffered, result)
            except Exception as error:  # noqa: BLE001 such as a full disk: what waits must go on later
                pause_s = outbox.fail(error)
            await asyncio.sleep(pause_s)

    async def _exchange(self, message: Message) -> httpx.Response | Exception:
        try:
            return await self._client.send(self._request_of(self._client, message))
        except (httpx.HTTPError, ConfigurationError) as error:
            return error
