"""Collects what channels other than rest-hook say: websocket, server-sent events, messages and mails."""

import asyncio
import json
from functools import partial

import websockets

from broker.fhir.payload_elements import PAYLOAD_ELEMENT
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from tests.validation.broker_process import EVERYTHING
from tests.validation.collector import FHIR_JSON, NOW, RELEASES, Collector, has_events, has_received, until


class ChannelSteps(Collector):
    """One step for each channel."""

    async def websockets(self) -> None:
        for release in RELEASES:
            document = subscription(release, EVERYTHING, "http://127.0.0.1/", content="full-resource")
            if release == "r5":
                document["channelType"]["code"] = "websocket"
                del document["endpoint"]
            else:
                document["channel"]["type"] = "websocket"
                del document["channel"]["endpoint"]
            accepted = await register_subscription(self.client, f"/{release}", document)
            self.documents.add(release, "websocket-subscription", accepted)
            token = await self.get(release, "token", f"Subscription/{accepted['id']}/$get-ws-binding-token")
            values = {
                parameter["name"]: next(value for key, value in parameter.items() if key.startswith("value"))
                for parameter in token["parameter"]
            }
            connecting = websockets.connect(values["websocket-url"], open_timeout=60)
            async with connecting as socket, asyncio.timeout(60):
                await socket.send(
                    json.dumps({"type": "bind-with-token", "payload": {"token": values["token"]}})
                )
                self.documents.add(release, "websocket-handshake", await socket.recv())
                await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 64))
                self.documents.add(release, "websocket-event", await socket.recv())

    async def streams(self) -> None:
        """The data of server-sent events: what is left when `data: ` is taken away."""
        for release in RELEASES:
            document = subscription(release, EVERYTHING, "http://127.0.0.1/", content="full-resource")
            code, system = "server-sent-events", "http://fhir-broker.org/channel-types"
            if release == "r5":
                document["channelType"] = {"system": system, "code": code}
                del document["endpoint"]
            else:
                document["channel"]["type"] = code
                del document["channel"]["endpoint"]
            accepted = await register_subscription(self.client, f"/{release}", document)
            self.documents.add(release, "stream-subscription", accepted)
            url = f"/{release}/Subscription/{accepted['id']}/$stream"
            headers = {"Accept": "text/event-stream"}
            kinds = 0
            async with asyncio.timeout(60), self.client.stream("GET", url, headers=headers) as response:
                assert response.status_code == 200, f"{url}: {response.status_code}"
                await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 67))
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        self.documents.add(release, "stream-data", line.removeprefix("data: "))
                        kinds += 1
                        if b'"event-notification"' in line.encode():
                            break
            assert kinds, f"{url}: no data"

    async def messages_and_mails(self) -> None:
        for release in RELEASES:
            await self._register_channel(release, "message", self.subscriber.url(f"{release}-message"))
            await self._register_channel(release, "email", "mailto:nurse@example.org")
            await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 66))
            endpoint_of_messages = self.subscriber.endpoint(f"{release}-message")
            arrived = await self.subscriber.wait_until(partial(has_received, endpoint_of_messages, 2))
            assert arrived, f"{release}: no message with an event"
            for received in endpoint_of_messages.received:
                self.documents.add(release, "message", received.body)
            mails = await self._mails_of(release)
            for mail in mails:
                self.documents.add(release, "mail", mail)

    async def element_lists(self) -> None:
        """A Subscription with an element list, in every release, and the notification that it cut.

        The list keeps what the profile of a heart rate requires: the validator judges by it whatever is coded
        as one.
        """
        for release in RELEASES:
            name = f"{release}-elements"
            document = subscription(release, EVERYTHING, self.subscriber.url(name), content="full-resource")
            document["extension"] = [
                {"url": PAYLOAD_ELEMENT, "valueString": f"Observation.{element}"}
                for element in ("category", "subject", "effectiveDateTime", "valueQuantity")
            ]
            accepted = await register_subscription(self.client, f"/{release}", document)
            for other in RELEASES:
                await self.get(other, "elements-subscription", f"Subscription/{accepted['id']}")
            await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 68))
            arrived = await self.subscriber.wait_until(partial(has_events, self.subscriber.endpoint(name), 1))
            assert arrived, f"{name}: no event"
            self.keep_received(release, name, "elements")

    async def _mails_of(self, release: str) -> list[bytes]:
        """The Bundles mailed to this release's subscriber, once there is one with an event."""
        of_release = f"/{release}/Subscription/".encode()

        async def has_two() -> bool:
            return sum(of_release in bundle for bundle in self.mailbox.bundles()) >= 2

        await until(has_two)
        return [bundle for bundle in self.mailbox.bundles() if of_release in bundle]

    async def _register_channel(self, release: str, code: str, endpoint: str) -> None:
        is_mail = code == "email"
        content = "id-only" if is_mail else "full-resource"
        media_type = "text/plain;attach=application/fhir+json" if is_mail else FHIR_JSON
        document = subscription(release, EVERYTHING, endpoint, content=content)
        if release == "r5":
            document["channelType"]["code"] = code
            document["contentType"] = media_type
        else:
            document["channel"]["type"] = code
            document["channel"]["payload"] = media_type
        name = f"{release}-{code}"
        accepted = await register_subscription(self.client, f"/{release}", document)
        self.documents.add(release, f"{code}-subscription", accepted)
        self.ids[name] = accepted["id"]
        await until(partial(self.has_status, name, "active"))
