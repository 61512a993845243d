"""The receiver: each event once and in order, gaps that are filled or reported, signatures, failures."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import httpx
import pytest

from broker.receiver import CatchUp, Event, Gap, Ledger, Receiver
from tests.unit.receiver.bundles import (
    BASE,
    NOW_S,
    SECRET,
    SUBSCRIPTION,
    TOPIC,
    EventsServer,
    encoded,
    message_with,
    r4_bundle,
    r5_bundle,
    resource,
    signed,
)


class Clock:
    """Stands still."""

    def now_ms(self) -> int:
        return NOW_S * 1_000


class Application:
    """Records what it gets; fails as often as `failures` says."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.gaps: list[Gap] = []
        self.failures = 0

    async def handle(self, event: Event) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is down")
        self.events.append(event)

    async def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    @property
    def numbers(self) -> list[int]:
        return [event.number for event in self.events]


class Fixture:
    """A receiver of a broker that still has the events of `has`; None: that is not asked for any."""

    def __init__(self, has: Collection[int] | None = None, *, ledger: Ledger | None = None) -> None:
        self.application = Application()
        self.ledger = ledger or Ledger()
        self.server = EventsServer(has or ())
        self.receiver = Receiver(
            self.application.handle,
            self.ledger,
            secrets=None,
            catch_up=None if has is None else CatchUp(BASE, self.server.client),
            on_gap=self.application.on_gap,
            clock=Clock(),
        )

    async def send(self, *numbers: int) -> int:
        return (await self.receiver.receive({}, encoded(r5_bundle(*numbers)))).status

    async def send_other(self, type: str, count: int, id: str = "n") -> int:
        body = encoded(r5_bundle(type=type, count=count, id=id))
        return (await self.receiver.receive({}, body)).status


@pytest.mark.parametrize(
    "bundle",
    [r5_bundle(1, 2), r4_bundle(1, 2), message_with(r5_bundle(1, 2)), message_with(r4_bundle(1, 2))],
    ids=["r5", "r4", "r5 in a message", "r4 in a message"],
)
async def test_events_come_with_their_resources(bundle: dict[str, object]) -> None:
    fixture = Fixture()
    assert (await fixture.receiver.receive({}, encoded(bundle))).status == 200
    first, second = fixture.application.events
    assert first == Event(
        SUBSCRIPTION,
        TOPIC,
        1,
        "2025-06-15T15:06:40Z",
        f"{BASE}/Observation/o1",
        resource(1),
        (resource(2),),
    )
    assert second.resource == resource(2)


async def test_repeated_events_are_passed_over() -> None:
    fixture = Fixture()
    for numbers in ((1, 2), (1, 2), (2, 3), (3,)):
        assert await fixture.send(*numbers) == 200
    assert fixture.application.numbers == [1, 2, 3]


async def test_missing_events_are_fetched_before_those_that_arrived() -> None:
    fixture = Fixture(range(1, 10))
    assert await fixture.send(1) == 200
    assert await fixture.send(5, 6) == 200
    assert fixture.application.numbers == [1, 2, 3, 4, 5, 6]
    assert fixture.server.ranges == [(2, 4)]
    assert fixture.application.gaps == []
    assert fixture.application.events[1].resource == resource(2)


async def test_missing_events_are_fetched_page_by_page() -> None:
    fixture = Fixture(range(1, 10))
    fixture.server.page = 2
    assert await fixture.send(6) == 200
    assert fixture.application.numbers == [1, 2, 3, 4, 5, 6]
    assert fixture.server.ranges == [(1, 5), (3, 5), (5, 5)]


async def test_events_that_the_broker_does_not_have_are_reported_in_their_place() -> None:
    fixture = Fixture({3, 4, 6})
    assert await fixture.send(9) == 200
    assert fixture.application.numbers == [3, 4, 6, 9]
    lost = [Gap(SUBSCRIPTION, 1, 2), Gap(SUBSCRIPTION, 5, 5), Gap(SUBSCRIPTION, 7, 8)]
    assert fixture.application.gaps == lost
    assert fixture.ledger.lost(SUBSCRIPTION) == lost
    assert await fixture.send(9) == 200
    assert fixture.application.gaps == lost, "each gap is reported once"


async def test_without_a_broker_to_ask_a_gap_is_lost_at_once() -> None:
    fixture = Fixture()
    assert await fixture.send(3) == 200
    assert fixture.application.gaps == [Gap(SUBSCRIPTION, 1, 2)]
    assert fixture.application.numbers == [3]


async def test_while_missing_events_cannot_be_fetched_the_broker_has_to_send_again() -> None:
    fixture = Fixture(range(1, 10))
    fixture.server.fails = True
    assert await fixture.send(2) == 503
    assert fixture.application.numbers == []
    fixture.server.fails = False
    assert await fixture.send(2) == 200
    assert fixture.application.numbers == [1, 2]


async def test_an_event_that_the_application_does_not_handle_is_handed_over_again() -> None:
    fixture = Fixture()
    assert await fixture.send(1) == 200
    fixture.application.failures = 1
    assert await fixture.send(2, 3) == 500
    assert await fixture.send(2, 3) == 200
    assert fixture.application.numbers == [1, 2, 3]


async def test_a_heartbeat_brings_what_got_lost_at_the_end() -> None:
    fixture = Fixture({1, 2, 3})
    assert await fixture.send(1) == 200
    assert await fixture.send_other("heartbeat", 4) == 200
    assert fixture.application.numbers == [1, 2, 3]
    assert fixture.application.gaps == [], "event 4 may be on its way"
    assert await fixture.send(4) == 200
    assert fixture.application.numbers == [1, 2, 3, 4]


async def test_a_new_subscription_begins_with_event_1_or_with_what_arrives() -> None:
    fixture = Fixture(range(1, 100))
    assert await fixture.send_other("handshake", 2) == 200
    assert fixture.application.numbers == [1, 2]
    later = Fixture(range(1, 100))
    later.receiver = Receiver(later.application.handle, Ledger(), secrets=None, from_start=False)
    assert await later.send(57, 58) == 200
    assert later.application.numbers == [57, 58]
    waiting = Fixture()
    waiting.receiver = Receiver(waiting.application.handle, Ledger(), secrets=None, from_start=False)
    assert await waiting.send_other("heartbeat", 5) == 200
    assert await waiting.send(6) == 200
    assert waiting.application.numbers == [6]


async def test_a_subscription_that_is_registered_again_begins_anew() -> None:
    fixture = Fixture()
    await fixture.send_other("handshake", 0, id="first")
    await fixture.send(1, 2)
    await fixture.send_other("handshake", 0, id="first")
    await fixture.send(1, 2)
    assert fixture.application.numbers == [1, 2], "the same handshake again says nothing"
    await fixture.send_other("handshake", 0, id="second")
    await fixture.send(1)
    assert fixture.application.numbers == [1, 2, 1]


async def test_requests_at_the_same_time_are_handled_one_after_the_other() -> None:
    fixture = Fixture(range(1, 10))
    answers = await asyncio.gather(*(fixture.send(number) for number in (4, 2, 3, 1, 4)))
    assert answers == [200] * 5
    assert fixture.application.numbers == [1, 2, 3, 4]


async def test_progress_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        assert await Fixture(ledger=ledger).send(1, 2) == 200
    with Ledger(path) as ledger:
        again = Fixture({3}, ledger=ledger)
        assert await again.send(2, 3, 4) == 200
        assert again.application.numbers == [3, 4]


async def test_only_signed_requests_are_taken_if_there_are_secrets() -> None:
    fixture = Fixture()
    fixture.receiver.secrets = [SECRET]
    body = encoded(r5_bundle(1))
    assert (await fixture.receiver.receive({}, body)).status == 401
    assert (await fixture.receiver.receive(signed(body), body + b" ")).status == 401
    assert (await fixture.receiver.receive(signed(body, at_s=NOW_S - 301), body)).status == 401
    assert (await fixture.receiver.receive(signed(body), body)).status == 200
    fixture.receiver.secrets = []
    assert (await fixture.receiver.receive(signed(body), body)).status == 401, "no secret is valid"
    assert fixture.application.numbers == [1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"a"',
        b"{}",
        b'{"entry":[]}',
        b'{"id":"1","type":"x","entry":["a"]}',
        b'{"id":"1","type":"message","entry":[{"resource":{}}]}',
        b'{"id":"1","type":"message","entry":[{}, {"resource":{"entry":[]}}]}',
    ],
)
async def test_what_is_no_notification_is_refused(body: bytes) -> None:
    assert (await Fixture().receiver.receive({}, body)).status == 400


async def test_a_notification_decides_not_where_the_receiver_asks() -> None:
    """The host and the path of its Subscription are not used, and an id that is none is not sent."""
    fixture = Fixture({1})
    bundle = r5_bundle(2)
    status = bundle["entry"][0]["resource"]
    status["subscription"]["reference"] = "https://evil.example/steal/Subscription/ward"
    assert (await fixture.receiver.receive({}, encoded(bundle))).status == 200
    assert fixture.server.ranges == [(1, 1)]
    for name in ("..?x=", "..", ""):
        status["subscription"]["reference"] = f"Subscription/{name}"
        assert (await fixture.receiver.receive({}, encoded(bundle))).status == 503
    assert fixture.server.ranges == [(1, 1)]


async def test_an_answer_that_is_no_notification_is_no_answer() -> None:
    fixture = Fixture({1})
    fixture.server.answer = lambda _request: httpx.Response(200, json={"resourceType": "OperationOutcome"})
    assert await fixture.send(2) == 503

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    fixture.server.answer = refuse
    assert await fixture.send(2) == 503
    assert fixture.application.numbers == []


async def test_an_event_without_details_is_that_of_the_count() -> None:
    fixture = Fixture()
    assert await fixture.send_other("event-notification", 1) == 200
    (event,) = fixture.application.events
    assert (event.number, event.focus, event.resource) == (1, "", None)


async def test_a_focus_of_another_version_than_the_resource_has_no_resource() -> None:
    fixture = Fixture()
    bundle = r5_bundle(1, 2)
    events = bundle["entry"][0]["resource"]["notificationEvent"]
    events[0]["focus"]["reference"] += "/_history/1"
    events[1]["focus"]["reference"] += "/_history/2"
    await fixture.receiver.receive({}, encoded(bundle))
    assert [event.resource for event in fixture.application.events] == [resource(1), None]
