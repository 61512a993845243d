"""Access at delivery holds in every channel: what is included, what an element list cuts, and what ends with
the access of the owner. What was withheld does not leave by `$resend` or a redrive either.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from broker.store.protocol import Store
from tests.conftest import StartBroker
from tests.integration.broker_fixture import Gate, until
from tests.integration.channel_taps import CHANNELS, Mailbox, mailbox, taps_of
from tests.integration.guarded_broker import (
    ALL_OBSERVATIONS,
    NORMAL_OBSERVATIONS,
    NORMAL_PATIENTS,
    VITAL_SIGNS,
    GuardedBroker,
    bodies,
    guarded,
    observation,
    patient,
    write_topic,
)
from tests.integration.operations_client import question
from tests.integration.poisoning import PoisonMaker

__all__ = ["guarded"]
Start = Callable[[str], AbstractAsyncContextManager[GuardedBroker]]


@pytest.fixture
async def mails() -> AsyncIterator[Mailbox]:
    async with mailbox() as box:
        yield box


@pytest.fixture
def start(start_broker: StartBroker, guarded: GuardedBroker, mails: Mailbox, tmp_path: Path) -> Start:
    topics = write_topic(tmp_path / "topics")
    return lambda scope: guarded.started(start_broker, scope, topics_dir=topics, smtp_url=mails.url)


async def test_restrictions_and_element_lists_hold_in_every_channel(start: Start, mails: Mailbox) -> None:
    async with start(f"{VITAL_SIGNS} {NORMAL_PATIENTS}") as broker, taps_of(broker, mails) as taps:
        await taps.register("Observation.category", "Patient.active")
        await taps.open()
        await broker.put(patient("p1") | {"name": [{"family": "cut-name"}]})
        await broker.put(patient("p2", "R") | {"language": "hidden-language"})
        await broker.put(observation("o1") | {"note": [{"text": "cut-note"}]})
        await broker.put(observation("hidden", category="laboratory"))
        await broker.put(observation("o3", subject="p2") | {"valueString": "cut-value"})
        for name in ("o1", "o3"):
            await taps.until_arrived(f"Observation/{name}")
        for channel in CHANNELS:
            arrived = taps.arrived(channel)
            assert [text for text in ("cut-", "hidden", "Patient/p2") if text in arrived] == [], channel
            has_patient = '"resourceType":"Patient"' in arrived.replace(" ", "")
            assert has_patient == (channel != "email"), channel


async def test_every_channel_ends_with_the_access_of_the_owner(
    start: Start, mails: Mailbox, store: Store
) -> None:
    async with start(ALL_OBSERVATIONS) as broker, taps_of(broker, mails) as taps:
        await taps.register()
        await taps.open()
        await broker.put(observation("before"))
        await taps.until_arrived("Observation/before")
        await broker.change_ward(ALL_OBSERVATIONS, disabled=True)
        await taps.until_all("off")
        await taps.until_stream_ended()
        await broker.put(observation("meanwhile"))
        # what waits to be matched in the five seconds before an activation may be an event (decision 220)
        await PoisonMaker(broker.lab, store).until_matched()

        await broker.change_ward(ALL_OBSERVATIONS)
        for each in taps.ids.values():
            url = f"/r4/Subscription/{each}"
            document = (await broker.lab.get(url)).json()
            response = await broker.lab.put(url, json=document | {"status": "requested"})
            assert response.status_code == 200, response.text
        await taps.until_all("active")
        await taps.open()
        await broker.put(observation("again"))
        await taps.until_arrived("Observation/again")
        assert [channel for channel in CHANNELS if "meanwhile" in taps.arrived(channel)] == []


async def test_resend_sends_nothing_that_was_moved_out_of_sight(start: Start) -> None:
    async with start(f"{NORMAL_OBSERVATIONS} system/Patient.r") as broker:
        hook = await broker.subscribe("hook")
        await broker.put(observation("moved"))
        await broker.until_counted(hook, 1)
        await broker.put(observation("kept"))
        endpoint = await broker.until_number("hook", 2)
        await broker.put(observation("moved", level="R"))
        shown = bodies(endpoint).count("Observation/moved")
        for client in (broker.ward, broker.lab):
            resent = bodies(endpoint).count("Observation/kept")
            response = await client.post(
                f"/r5/Subscription/{hook}/$resend", json=question(eventsSinceNumber=1, eventsUntilNumber=2)
            )
            assert response.status_code == 200, response.text

            async def has_come(before: int = resent) -> bool:
                return bodies(endpoint).count("Observation/kept") > before

            await until(has_come)
        assert bodies(endpoint).count("Observation/moved") == shown


async def test_a_redrive_sends_nothing_that_was_moved_out_of_sight(start: Start, store: Store) -> None:
    async with start(f"{NORMAL_OBSERVATIONS} system/Patient.r") as broker:
        poison = PoisonMaker(broker.lab, store)
        gate = Gate()
        hook = await broker.subscribe("hook")
        broker.subscriber.endpoint("hook").answer = gate
        await broker.put(observation("first"))
        await gate.until_entered()
        for n, name in enumerate(("moved", "kept"), start=2):
            await broker.put(observation(name))
            await broker.until_counted(hook, n)
        await poison.damage("moved", "kept")
        gate.opened.set()
        letters = await poison.until_dead_letters(2)
        assert "Observation/moved" in str(letters)
        await poison.repair("moved", "kept")
        await broker.put(observation("moved", level="R"))
        answer = await poison.operate("redrive-dead-letters", kind="event")
        assert answer.status_code == 200, answer.text
        await poison.until_dead_letters(1)  # what is withheld stays one, until it is discarded
        endpoint = await broker.until_number("hook", 3)
        assert "Observation/kept" in bodies(endpoint)
        assert "moved" not in bodies(endpoint)
