"""Subscriptions of one client at every channel, and what arrives at each of them.

Notifications that are pushed go to the simulated subscriber and to a mailbox; the websocket and the event
stream are read by tasks.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from typing import Any

import websockets
from aiosmtpd.smtp import SMTP, Envelope

from broker.fhir.payload_elements import PAYLOAD_ELEMENT
from tests.integration.broker_fixture import WAIT_S, until
from tests.integration.guarded_broker import GuardedBroker, bodies

CHANNELS = ("rest-hook", "message", "email", "websocket", "server-sent-events")
_OWN = "system/Subscription.cruds"
_TO = "ward@hospital.example"


class Mailbox:
    """An SMTP server that keeps the mails as text."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.url = ""

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        parts = [str(part.get_payload(decode=True)) for part in mail.walk() if not part.is_multipart()]
        self.mails.append("\n".join([str(mail["Subject"]), *parts]))
        return "250 taken"


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    box, loop = Mailbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    box.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()


class ChannelTaps:
    """`ids` are the subscriptions by channel."""

    def __init__(self, broker: GuardedBroker, mails: Mailbox) -> None:
        self._broker = broker
        self._mails = mails
        self.ids: dict[str, str] = {}
        self._read: dict[str, list[str]] = {"websocket": [], "server-sent-events": []}
        self._readers: list[asyncio.Task[None]] = []

    async def register(self, *elements: str) -> None:
        """With the elements that resources have in payloads, if any are named. Mail has no resources."""
        for channel in CHANNELS:
            document = self._broker.document(channel)
            if elements:
                document["extension"] = [{"url": PAYLOAD_ELEMENT, "valueString": name} for name in elements]
            document["channel"] |= {"type": channel}
            if channel == "email":
                mail = {"endpoint": f"mailto:{_TO}", "payload": "text/plain;attach=application/fhir+json"}
                document["channel"] |= mail | {"_payload": _content("id-only")}
            elif channel in self._read:
                del document["channel"]["endpoint"]
            response = await self._broker.ward.post("/r4/Subscription", json=document)
            assert response.status_code == 201, response.text
            self.ids[channel] = str(response.json()["id"])
        await self.until_all("active")

    async def until_all(self, status: str) -> None:
        for subscription_id in self.ids.values():
            await self._broker.until_status(subscription_id, status)

    async def open(self) -> None:
        """Reads from the websocket and the event stream, from the first event on."""
        url, token = await self._binding(self.ids["websocket"])
        connected = asyncio.Event(), asyncio.Event()
        self._readers += [
            asyncio.create_task(self._read_websocket(url, token, connected[0])),
            asyncio.create_task(self._read_stream(self.ids["server-sent-events"], connected[1])),
        ]
        async with asyncio.timeout(WAIT_S):
            for each in connected:
                await each.wait()

    async def until_stream_ended(self) -> None:
        """Until the broker has ended the event stream. A websocket stays open, for other subscriptions."""
        async with asyncio.timeout(WAIT_S):
            await self._readers[-1]

    async def close(self) -> None:
        for each in self._readers:
            each.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def arrived(self, channel: str) -> str:
        """Everything that came by the channel."""
        if channel == "email":
            return "\n".join(self._mails.mails)
        if channel in self._read:
            return "\n".join(self._read[channel])
        return bodies(self._broker.subscriber.endpoint(channel))

    async def until_arrived(self, text: str) -> None:
        """Until it came by every channel."""

        async def is_everywhere() -> bool:
            return all(text in self.arrived(channel) for channel in CHANNELS)

        await until(is_everywhere)

    async def _binding(self, subscription_id: str) -> tuple[str, str]:
        answer = await self._broker.ward.get(f"/r5/Subscription/{subscription_id}/$get-ws-binding-token")
        assert answer.status_code == 200, answer.text
        values = {each["name"]: each for each in answer.json()["parameter"]}
        return values["websocket-url"]["valueUrl"], values["token"]["valueString"]

    async def _read_websocket(self, url: str, token: str, connected: asyncio.Event) -> None:
        # a busy machine may answer neither the opening nor a ping of the protocol for a while
        async with websockets.connect(url, open_timeout=WAIT_S, ping_interval=None) as socket:
            bind = {"type": "bind-with-token", "payload": {"token": token, "eventsSinceNumber": 1}}
            await socket.send(json.dumps(bind))
            async for message in socket:
                self._read["websocket"].append(str(message))
                connected.set()

    async def _read_stream(self, subscription_id: str, connected: asyncio.Event) -> None:
        headers = {"Authorization": f"Bearer {await self._broker.smart.token('ward', _OWN)}"}
        url = f"/r5/Subscription/{subscription_id}/$stream?eventsSinceNumber=1"
        async with self._broker.smart.client.stream("GET", url, headers=headers, timeout=None) as response:
            rest = ""
            async for chunk in response.aiter_text():
                *whole, rest = (rest + chunk).split("\n\n")  # a chunk may end within an event
                self._read["server-sent-events"] += whole
                if whole:
                    connected.set()


def _content(code: str) -> dict[str, Any]:
    url = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
    return {"extension": [{"url": url, "valueCode": code}]}


@asynccontextmanager
async def taps_of(broker: GuardedBroker, mails: Mailbox) -> AsyncIterator[ChannelTaps]:
    taps = ChannelTaps(broker, mails)
    try:
        yield taps
    finally:
        await taps.close()
