"""Sends readings and FHIR resources to a broker, for programs without asyncio.

with Producer("http://127.0.0.1:8080", buffer=Path("gateway.db")) as producer:
producer.put(reading({"device": "m7", "hr": 72, "at": "2025-03-01T08:00:00Z"}))
"""

import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from broker.client.answer import Answer, RetryPolicy
from broker.client.buffer import MAX_BYTES, MAX_MESSAGES
from broker.client.message import Message
from broker.client.outbox import BaseProducer, Outbox
from broker.errors import ConfigurationError

TIMEOUT_S = 30.0


class Producer(BaseProducer):
    """A context manager; threads may share it.

    `send` sends one message and waits for the answer. With `buffer`, a file, `put` writes messages to disk
    and returns; a thread sends them in order while the producer is entered, and also those that an earlier
    process has left. `auth` authenticates the requests (`BackendServices`). `tls`
    replaces the system's authorities, `transport` serves tests.

    Raises `BufferInUse` and `BufferUnusable`, and `ValueError` for a `base` that is no URL.
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
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(base, buffer, max_messages, max_bytes, policy)
        self._client = httpx.Client(
            auth=auth,
            transport=transport,
            timeout=timeout_s,
            trust_env=transport is None,
            verify=True if tls is None else tls,
        )
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._outbox is not None:
            self._thread = threading.Thread(target=self._drain, args=(self._outbox,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends after the request under way. What is still in the buffer stays there for the next process."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._client.close()
        if self._outbox is not None:
            self._outbox.buffer.close()

    def send(self, message: Message) -> Answer:
        """Sends past the buffer. The answer is that of the broker: it accepts or refuses the message.

        Repeats attempts without an answer, and answers that ask for it. Raises `NotSent` after the last, and
        `ConfigurationError` if there is no access token.
        """
        attempts = self._attempts()
        while True:
            settled = attempts.settle(self._exchange(message))
            if isinstance(settled, Answer):
                return settled
            self._stopped.wait(settled)

    def put(self, *messages: Message) -> None:
        """Writes to the buffer: when it returns, the messages are on disk. Raises `BufferFull`."""
        self._buffered().buffer.append(*messages)
        with self._changed:
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing waits in the buffer. Whether that is so when the time ends."""
        outbox = self._buffered()
        with self._changed:
            return self._changed.wait_for(lambda: outbox.next() is None, timeout_s)

    def _drain(self, outbox: Outbox) -> None:
        while not self._stopped.is_set():
            try:
                buffered = outbox.next()
                if buffered is None:
                    with self._changed:
                        self._changed.notify_all()
                        self._changed.wait_for(lambda: self._stopped.is_set() or outbox.next() is not None)
                    continue
                pause_s = outbox.settle(buffered, self._exchange(buffered.message))
            except Exception as error:  # noqa: BLE001 such as a full disk: what waits must go on later
                pause_s = outbox.fail(error)
            self._stopped.wait(pause_s)

    def _exchange(self, message: Message) -> httpx.Response | Exception:
        try:
            return self._client.send(self._request_of(self._client, message))
        except (httpx.HTTPError, ConfigurationError) as error:
            return error
