"""Collects one of each kind of document that a broker says, in every release, into
`<folder>/<release>/<name>.json`.

Everything is asked for over HTTP, and received by real subscribers.
"""

import asyncio
from functools import partial
from pathlib import Path

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.validation.answer_steps import AnswerSteps
from tests.validation.broker_process import ADMISSIONS, EVERYTHING, running_broker
from tests.validation.channel_steps import ChannelSteps
from tests.validation.collection import Collection
from tests.validation.collector import NOW, RELEASES, has_events, has_heartbeat, until

CONTENTS = ("empty", "id-only", "full-resource")
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
            collector.element_lists,
            collector.explanations,
            collector.preferences,
            collector.patches_and_validations,
            collector.outcomes,
            collector.audit_events,
        ):
            await step()


class _Steps(ChannelSteps, AnswerSteps):
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
            arrived = await self.subscriber.wait_until(partial(has_events, endpoint, wanted))
            assert arrived, f"{name} has {endpoint.numbers}"
            release = name.partition("-")[0]
            self.keep_received(release, name, name.partition("-")[2])

    async def heartbeats_and_errors(self) -> None:
        for release in RELEASES:
            name = f"{release}-filtered"
            endpoint = self.subscriber.endpoint(name)
            arrived = await self.subscriber.wait_until(partial(has_heartbeat, endpoint))
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
            await until(partial(self.has_status, failing, "error"))
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

    async def dead_letters(self) -> None:
        """Dead letters with entries, as every base lists them."""
        await self.broker.refuse_inbox_entry()

        async def is_listed() -> bool:
            answer = await self.client.get("/r5/$dead-letters")
            return "dead-letter" in answer.text

        await until(is_listed)
        for release in RELEASES:
            await self.get(release, "dead-letters-with-entries", "$dead-letters")
