"""A notification, its subscription, and an HTTP endpoint on a loopback port, for the tests of channels."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from broker.channels.base import SendRequest
from broker.egress.addresses import Allowance
from broker.model.change import DEFAULT_TENANT
from broker.model.notification import Notification, NotificationType
from broker.model.release import Release
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)

LOOPBACK = Allowance((ip_network("127.0.0.0/8"),))
BASE_URL = "http://broker.example"
BODY = '{"resourceType":"Bundle", "x": "é\\u0000 \n"}'.encode()
NOTIFICATION = Notification(
    id="3b0d0f5c-6f3e-4d52-9a4e-8a7f0f6f2a11",
    type=NotificationType.HEARTBEAT,
    release=Release.R4,
    subscription=SubscriptionId("s1"),
    topic="http://example.org/topic",
    status=SubscriptionStatus.ACTIVE,
    content=PayloadContent.EMPTY,
    events_since_start=0,
    at_ms=1_700_000_000_000,
)
SETTINGS = Channel(
    type=ChannelType("rest-hook"),
    endpoint="https://ehr.example/hook",
    headers=(),
    content_type="application/fhir+json",
    content=PayloadContent.ID_ONLY,
)


def request_to(
    endpoint: str,
    *,
    notification: Notification = NOTIFICATION,
    body: bytes = BODY,
    timeout_s: float = 30.0,
    **settings: Any,
) -> SendRequest:
    """An attempt to send to `endpoint`; `settings` are fields of the subscription's channel."""
    subscription = Subscription(
        tenant=DEFAULT_TENANT,
        id=notification.subscription,
        release=notification.release,
        status=notification.status,
        topic=notification.topic,
        filters=(),
        channel=replace(SETTINGS, endpoint=endpoint, **settings),
        document=b"{}",
    )
    return SendRequest(subscription, notification, body, timeout_s)


@dataclass
class Endpoint:
    """Keeps the raw requests and answers with `answer`, or never if that is None."""

    answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    requests: list[tuple[list[str], bytes]] = field(default_factory=list)
    is_endless: bool = False
    port: int = 0
    received: asyncio.Event = field(default_factory=asyncio.Event)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
                length = next(int(line[15:]) for line in head if line.lower().startswith("content-length:"))
                self.requests.append((head, await reader.readexactly(length)))
                self.received.set()
                if self.answer is None:
                    await asyncio.Event().wait()
                    continue
                writer.write(self.answer)
                await writer.drain()
                while self.is_endless:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
        self.disconnected.set()
        writer.close()


@contextlib.asynccontextmanager
async def listening(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(endpoint.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
