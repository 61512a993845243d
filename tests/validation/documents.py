"""Collects one of each kind of document that a broker says, in every release, into
`<folder>/<release>/<name>.json`.

Everything is asked for over HTTP, and received by real subscribers.
"""

import asyncio
import json
from functools import partial
from pathlib import Path

import websockets

from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.validation.broker_process import ADMISSIONS, EVERYTHING, running_broker
from tests.validation.collection import Collection
from tests.validation.collector import FHIR_JSON, Collector, has_events, has_heartbeat, has_received, until

RELEASES = ("r4", "r4b", "r5")
CONTENTS = ("empty", "id-only", "full-resource")
NOW = "2026-03-01T08:00:00Z"
_PATIENT = {"resourceType": "Patient", "id": "ana", "active": True, "name": [{"family": "Example"}]}
_ENCOUNTER = {
    "resourceType": "Encounter",
    "id": "visit",
    "status": "in-progress",
    "class": {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "code": "IMP",
        "display": "inpatient encounter",
    },
    "subject": {"reference": "Patient/ana"},
}


async def collect(folder: Path) -> None:
    """Fills `folder`. Raises `TimeoutError` or `AssertionError` where the broker does not do what is expected
    of it.
    """
    documents = Collection(folder)
    async with running_broker() as broker, SimulatedSubscriber() as subscriber:
        collector = _Steps(broker, subscriber, documents)
        for step in (
            collector.discovery,
            collector.registrations,
            collector.resources,
            collector.events,
            collector.heartbeats_and_errors,
            collector.status_and_events,
            collector.searches,
            collector.websockets,
            collector.streams,
            collector.dead_letters,
            collector.messages_and_mails,
            collector.explanations,
            collector.outcomes,
        ):
            await step()


class _Steps(Collector):
    """Does what leads to each kind of document. The steps build on each other, in their order."""

    async def discovery(self) -> None:
        for release in RELEASES:
            await self.get(release, "metadata", "metadata")
            operations = await self.get(release, "operation-definitions", "OperationDefinition")
            for entry in operations["entry"]:
                await self.get(
                    release, "operation-definition", f"OperationDefinition/{entry['resource']['id']}"
                )
            topics = "Basic" if release == "r4" else "SubscriptionTopic"
            found = await self.get(release, "topics", topics)
            for entry in found["entry"]:
                await self.get(release, "topic", f"{topics}/{entry['resource']['id']}")

    async def registrations(self) -> None:
        for release in RELEASES:
            for content in CONTENTS:
                for count in (1, 10):
                    name = f"{release}-{content}-{count}"
                    await self.subscribe(release, name, EVERYTHING, content=content, max_count=count)
                await self.subscribe(release, f"{release}-{content}-shape", ADMISSIONS, content=content)
            await self.subscribe(
                release,
                f"{release}-filtered",
                EVERYTHING,
                filters=["patient=Patient/ana"],
                headers=[("X-Token", "secret")],
                heartbeat_s=1,
                timeout_s=5,
            )
            await self.get(release, "subscription", f"Subscription/{self.ids[f'{release}-filtered']}")

    async def resources(self) -> None:
        await self.send("PUT", "/r4/Patient/ana", _PATIENT)
        await self.send("PUT", "/r4/Encounter/visit", _ENCOUNTER)
        for release in RELEASES:
            await self.get(release, "patient", "Patient/ana")
            await self.get(release, "encounter", "Encounter/visit")
            reading = observation(HEART_RATE, "ana", NOW, 71)
            bundle = {
                "resourceType": "Bundle",
                "type": "transaction",
                "entry": [
                    {"resource": reading, "request": {"method": "POST", "url": "Observation"}},
                    {"resource": reading, "request": {"method": "PUT", "url": f"Observation/kept-{release}"}},
                ],
            }
            bundle["entry"][1]["resource"] = reading | {"id": f"kept-{release}"}  # type: ignore[index]  # a list of entries
            answer = await self.send("POST", f"/{release}", bundle)
            self.documents.add(release, "transaction-response", answer.content)
            batch = {
                "resourceType": "Bundle",
                "type": "batch",
                "entry": [
                    {"request": {"method": "GET", "url": f"Observation/kept-{release}"}},
                    {"request": {"method": "GET", "url": "Observation/absent"}},
                ],
            }
            answer = await self.send("POST", f"/{release}", batch)
            self.documents.add(release, "batch-response", answer.content)
            await self.get(release, "observation", f"Observation/kept-{release}")

    async def events(self) -> None:
        """Three changes of one resource wait together, so that they ride in one Bundle; then one by one."""
        held = asyncio.Event()

        async def hold(_body: bytes) -> Answer:
            await held.wait()
            return Answer()

        names = [name for name in self.ids if not name.endswith("filtered")]
        for name in names:
            self.subscriber.endpoint(name).answer = hold
        reading = observation(HEART_RATE, "ana", NOW, 80) | {"encounter": {"reference": "Encounter/visit"}}
        await self.send("PUT", "/r4/Observation/changing", reading | {"id": "changing"})
        for value in (81, 82, 83):
            again = observation(HEART_RATE, "ana", NOW, value) | {"id": "changing"}
            await self.send("PUT", "/r4/Observation/changing", again)
        await self.send("DELETE", "/r4/Observation/changing")
        await self.send("PUT", "/r4/Encounter/visit", _ENCOUNTER | {"status": "finished"})
        await self.send("PUT", "/r4/Encounter/visit", _ENCOUNTER)
        held.set()
        for name in names:
            endpoint = self.subscriber.endpoint(name)
            wanted = 3 if name.endswith("shape") else 11
            arrived = await self.subscriber.wait_until(partial(has_events, endpoint, wanted), 20)
            assert arrived, f"{name} has {endpoint.numbers}"
            release = name.partition("-")[0]
            self.keep_received(release, name, name.partition("-")[2])

    async def heartbeats_and_errors(self) -> None:
        for release in RELEASES:
            name = f"{release}-filtered"
            endpoint = self.subscriber.endpoint(name)
            arrived = await self.subscriber.wait_until(partial(has_heartbeat, endpoint), 20)
            assert arrived, f"{name} got no heartbeat"
            for received in endpoint.received:
                if received.notification is not None and received.notification.type == "heartbeat":
                    self.documents.add(release, "heartbeat", received.body)
                    break
            failing = f"{release}-failing"
            await self.subscribe(release, failing, EVERYTHING, content="id-only")

            async def refuse(_body: bytes) -> Answer:
                return Answer(400)

            self.subscriber.endpoint(failing).answer = refuse
        await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 90))
        for release in RELEASES:
            failing = f"{release}-failing"
            await until(partial(self.has_status, failing, "error"), 20)
            await self.get(release, "status-of-an-error", f"Subscription/{self.ids[failing]}/$status")
            await self.get(release, "subscription-in-error", f"Subscription/{self.ids[failing]}")

    async def status_and_events(self) -> None:
        for release in RELEASES:
            subscriptions = [id_ for name, id_ in self.ids.items() if name.startswith(f"{release}-")]
            await self.get(release, "status-of-all", "Subscription/$status")
            for id_ in subscriptions:
                await self.get(release, "status", f"Subscription/{id_}/$status")
            for content in CONTENTS:
                for name in (f"{release}-{content}-10", f"{release}-{content}-shape"):
                    await self.get(release, f"events-{content}", f"Subscription/{self.ids[name]}/$events")
            full = self.ids[f"{release}-full-resource-10"]
            await self.get(
                release,
                "events-of-a-range",
                f"Subscription/{full}/$events",
                eventsSinceNumber="2",
                eventsUntilNumber="4",
            )
            answer = await self.send(
                "POST", f"/{release}/Subscription/{full}/$resend?eventsSinceNumber=1&eventsUntilNumber=2"
            )
            if answer.content:
                self.documents.add(release, "resend", answer.content)

    async def searches(self) -> None:
        for release in RELEASES:
            await self.get(release, "searchset-subscriptions", "Subscription", status="active", _count="3")
            await self.get(release, "searchset-empty", "Subscription", url="http://example.org/absent")
            await self.get(release, "dead-letters", "$dead-letters")

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
            async with websockets.connect(values["websocket-url"]) as socket, asyncio.timeout(15):
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
            async with asyncio.timeout(20), self.client.stream("GET", url, headers=headers) as response:
                assert response.status_code == 200, f"{url}: {response.status_code}"
                await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 67))
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        self.documents.add(release, "stream-data", line.removeprefix("data: "))
                        kinds += 1
                        if b'"event-notification"' in line.encode():
                            break
            assert kinds, f"{url}: no data"

    async def dead_letters(self) -> None:
        """Dead letters with entries, as every base lists them."""
        await self.broker.refuse_inbox_entry()

        async def is_listed() -> bool:
            answer = await self.client.get("/r5/$dead-letters")
            return "dead-letter" in answer.text

        await until(is_listed, 20)
        for release in RELEASES:
            await self.get(release, "dead-letters-with-entries", "$dead-letters")

    async def messages_and_mails(self) -> None:
        for release in RELEASES:
            await self._register_channel(release, "message", self.subscriber.url(f"{release}-message"))
            await self._register_channel(release, "email", "mailto:nurse@example.org")
            await self.send("POST", "/r4/Observation", observation(HEART_RATE, "ana", NOW, 66))
            endpoint_of_messages = self.subscriber.endpoint(f"{release}-message")
            arrived = await self.subscriber.wait_until(partial(has_received, endpoint_of_messages, 2), 15)
            assert arrived, f"{release}: no message with an event"
            for received in endpoint_of_messages.received:
                self.documents.add(release, "message", received.body)
            mails = await self._mails_of(release)
            for mail in mails:
                self.documents.add(release, "mail", mail)

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

    async def explanations(self) -> None:
        for release in RELEASES:
            id_ = self.ids[f"{release}-filtered"]
            question = {
                "resourceType": "Parameters",
                "parameter": [{"name": "resource", "resource": observation(HEART_RATE, "bob", NOW, 70)}],
            }
            answer = await self.send("POST", f"/{release}/Subscription/{id_}/$explain", question)
            self.documents.add(release, "explain", answer.content)
            draft = subscription(
                release, EVERYTHING, self.subscriber.url("draft"), filters=["patient=Patient/ana"]
            )
            question = {
                "resourceType": "Parameters",
                "parameter": [{"name": "subscription", "resource": draft}],
            }
            answer = await self.send("POST", f"/{release}/Subscription/$dry-run", question)
            self.documents.add(release, "dry-run", answer.content)

    async def outcomes(self) -> None:
        for release in RELEASES:
            for name, method, path, body in (
                ("absent", "GET", "Observation/absent", None),
                ("unknown-type", "GET", "Nonsense/1", None),
                ("no-json", "POST", "Observation", "{"),
                (
                    "invalid",
                    "POST",
                    "Observation",
                    '{"resourceType":"Observation","status":"final","extra":1}',
                ),
                ("no-topic", "POST", "Subscription", '{"resourceType":"Subscription","status":"requested"}'),
                ("method", "PUT", "metadata", "{}"),
                ("unknown-parameter", "GET", "Subscription?nonsense=1", None),
            ):
                response = await self.client.request(
                    method,
                    f"/{release}/{path}",
                    content=body,
                    headers={"Content-Type": FHIR_JSON, "Prefer": "handling=strict"},
                )
                assert response.status_code >= 400, f"{release} {name}: {response.status_code}"
                self.documents.add(release, f"outcome-{name}", response.content)
