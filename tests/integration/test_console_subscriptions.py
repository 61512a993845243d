"""The console's pages of Subscriptions: lists, causes of failures, and actions, without a browser."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broken_endpoints import DELAYS, ENDPOINTS, broken_endpoints
from tests.integration.broker_fixture import BrokerFixture, Script, broker_with, until
from tests.integration.console_client import ConsoleClient, ConsolePage, console_of

pytestmark = pytest.mark.usefixtures("long_leases")


@pytest.fixture
async def patient_broker(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> AsyncIterator[BrokerFixture]:
    """A broker whose next attempt after a failure is far enough to be read on a page."""
    async with broker_with(start_broker, subscriber, **DELAYS) as fixture:
        yield fixture


@pytest.fixture
async def console(patient_broker: BrokerFixture) -> AsyncIterator[ConsoleClient]:
    async with console_of(str(patient_broker.client.base_url)) as window:
        yield window


async def until_page(console: ConsoleClient, path: str, words: str) -> ConsolePage:
    """The page once it has the words."""
    pages: list[ConsolePage] = []

    async def has_words() -> bool:
        pages.append(await console.read(path))
        assert pages[-1].status == 200, pages[-1].text
        return words in pages[-1].text

    try:
        await until(has_words)
    except TimeoutError:
        pytest.fail(f"{path} has no {words!r}: {pages[-1].text}")
    return pages[-1]


async def answering(status: int) -> Any:
    async def answer(_body: bytes) -> Answer:
        return Answer(status)

    return answer


async def test_at_three_o_clock_the_page_names_the_cause_the_events_and_the_next_attempt(
    patient_broker: BrokerFixture, console: ConsoleClient
) -> None:
    async with broken_endpoints(patient_broker) as ids:
        await patient_broker.send(2)
        for name, endpoint in ENDPOINTS.items():
            page = await until_page(console, f"/subscriptions/{ids[name]}", endpoint.advice)
            assert endpoint.cause in page.text
            if endpoint.is_final:  # what happens after it is off is no event of it
                assert "Status off" in page.text
                assert "not delivered: number" in page.text
                assert "Nothing is sent until it is activated." in page.text
            else:
                await patient_broker.until_counted(ids[name], 2)
                page = await console.read(f"/subscriptions/{ids[name]}")
                assert "2 events are not delivered: numbers 1 to 2." in page.text
                assert "Next attempt" in page.text
                assert "The broker attempts it again by itself." in page.text
                assert "<time datetime=" in page.source
        listed = await console.read("/subscriptions", error="1")
        for name, endpoint in ENDPOINTS.items():
            assert ids[name] in listed.text
            assert endpoint.cause in listed.text


async def test_what_a_person_does_to_a_subscription_is_what_the_api_does(
    patient_broker: BrokerFixture, console: ConsoleClient
) -> None:
    ward = await patient_broker.subscribe("ward", headers=[("Authorization", "Bearer secret-value")])
    path = f"/subscriptions/{ward}"
    endpoint = patient_broker.subscriber.endpoint("ward")
    await patient_broker.send(2)
    await patient_broker.until_numbers("ward", 2)

    page = await until_page(console, path, "2 of 2 events are delivered")
    assert "secret-value" not in page.source
    assert "********" in page.source
    assert "none: every event of the topic" in page.text
    events = await console.read(f"{path}/events")
    assert "Explain event 2" in events.text
    reference = events.text.partition("Observation/")[2].split()[0]
    explained = await console.read(f"{path}/explain", reference=f"Observation/{reference}")
    assert "It is an event" in explained.text
    pasted = await console.send(
        f"{path}/explain",
        f"{path}/explain",
        release="r4",
        resource=httpx.Response(200, json=observation(HEART_RATE, "ana", "2025-03-01", 60)).text,
    )
    assert "It is an event" in pasted.text

    tested = await console.send(f"{path}/confirm/send-test", f"{path}/send-test")
    assert "The receiver accepted the heartbeat" in tested.text
    assert endpoint.notifications[-1].type == "heartbeat"
    resent = await console.send(f"{path}/confirm/resend", f"{path}/resend", first="1", last="2")
    assert "2 events will be sent again, numbers 1 to 2." in resent.text
    assert await patient_broker.subscriber.wait_until(lambda: endpoint.duplicates == 2)
    refused = await console.send(f"{path}/confirm/resend", f"{path}/resend", first="one")
    assert refused.status == 400
    assert "is no event number" in refused.text
    rotated = await console.send(f"{path}/confirm/rotate-secret", f"{path}/rotate-secret")
    assert "whsec_" in rotated.text

    idle = await console.send(f"{path}/confirm/retry", f"{path}/retry")
    assert "No notification waits for another attempt" in idle.text
    endpoint.answer = await answering(500)
    await patient_broker.send()
    await until_page(console, path, "500 Internal Server Error")
    endpoint.answer = await answering(200)
    retried = await console.send(f"{path}/confirm/retry", f"{path}/retry")
    assert "attempted now" in retried.text
    await patient_broker.until_numbers("ward", 3)

    paused = await console.send(f"{path}/confirm/pause", f"{path}/pause")
    assert "It is off now. Activate it to start it again." in paused.text
    listed = await console.read("/subscriptions", status="off")
    assert ward in listed.text
    activated = await console.send(f"{path}/confirm/activate", f"{path}/activate")
    assert "the handshake is sent now" in activated.text
    await patient_broker.until_status(ward, "active")
    none_is_off = await console.read("/subscriptions", status="off")
    assert "No Subscription meets these conditions." in none_is_off.text
    unknown = await console.read("/subscriptions/nowhere")
    assert unknown.status == 404
    assert (await console.read(f"{path}/confirm/explode")).status == 404
    assert (await console.read("/subscriptions", status="broken")).status == 400


async def test_an_attempt_shows_what_was_sent_and_answered(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        broker_with(start_broker, subscriber, attempt_bodies="all") as fixture,
        console_of(str(fixture.client.base_url)) as console,
    ):
        ward = await fixture.subscribe("ward", headers=[("Authorization", "Bearer secret-value")])
        path = f"/subscriptions/{ward}"
        subscriber.endpoint("ward").answer = Script(503)
        (reading,) = await fixture.send()
        await fixture.until_numbers("ward", 1)
        listed = await until_page(console, f"{path}/attempts?event=1", "delivered, attempt 2")
        assert "handshake" not in listed.text
        failed = await console.read(f"{path}/attempts", failed="1")
        assert "503 Service Unavailable" in failed.text
        assert "delivered" not in failed.text
        found = re.search(rf'"/console({path}/attempts/[^"]+)"', listed.source)
        assert found is not None
        attempt = await console.read(found[1])
        assert "Outcome delivered, attempt 2 after" in attempt.text
        assert f"Observation/{reading}" in attempt.text
        assert "Status 200" in attempt.text
        assert "secret-value" not in attempt.source
        assert f"{path}/confirm/resend?first=1&amp;last=1" in attempt.source
        shown = await console.read(path)
        assert "delivered, attempt 2" in shown.text
        assert (await console.read(f"{path}/attempts/nonsense")).status == 404


async def test_events_of_a_subscription_without_content_name_no_resource(
    broker_fixture: BrokerFixture,
) -> None:
    ward = await broker_fixture.subscribe("ward", content="empty")
    (reading,) = await broker_fixture.send()
    await broker_fixture.until_counted(ward, 1)
    async with console_of(str(broker_fixture.client.base_url)) as console:
        page = await console.read(f"/subscriptions/{ward}/events")
    assert "delivered or passed over" in page.text or "waiting" in page.text
    assert reading not in page.source


async def test_subscriptions_are_found_by_words_id_endpoint_and_owner(
    broker_fixture: BrokerFixture,
) -> None:
    ids = [await broker_fixture.subscribe(name) for name in ("ward", "clinic")]
    async with console_of(str(broker_fixture.client.base_url)) as console:
        for query in ({"q": ids[0]}, {"q": "/WARD"}, {"q": "ward vital-signs", "owner": "open"}):
            page = await console.read("/subscriptions", **query)
            assert (ids[0] in page.text, ids[1] in page.text) == (True, False), query
        page = await console.read("/subscriptions", owner="nobody")
        assert "No Subscription meets these conditions." in page.text
        page = await console.read("/subscriptions")
        assert "active 2" in page.text
