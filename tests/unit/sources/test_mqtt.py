"""The MQTT source against a connection and an intake of the test: when a message may be acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.clock import SystemClock
from broker.egress.mqtt import MqttUnreachable, Receive, Received
from broker.errors import StoreUnavailable
from broker.ingest.readings.values import RawReading, ReadingResult, ReadingStatus
from broker.sources import mqtt
from broker.sources.mqtt import MqttSource
from broker.sources.mqtt_topics import TopicRule, TopicRules

WAIT_S = 60.0
RULES = TopicRules([TopicRule("ward/+"), TopicRule("fast/+", qos=0)])


class Connection:
    """What the source has opened; the test delivers messages with `deliver`."""

    def __init__(self, receive: Receive) -> None:
        self.lost = asyncio.Event()
        self.reason = ""
        self.is_closed = False
        self._receive = receive

    def deliver(self, topic: str, payload: bytes = b"{}", qos: int = 1) -> "asyncio.Task[bool]":
        async def received() -> bool:
            return await self._receive(Received(topic, payload, qos, ""))

        return asyncio.create_task(received())

    def lose(self, reason: str) -> None:
        self.reason = reason
        self.lost.set()

    async def close(self) -> None:
        self.lose("closed")
        self.is_closed = True


class Server:
    """Connections in the order in which the source opens them. `refusals` are raised first."""

    def __init__(self, *refusals: Exception) -> None:
        self._refusals = list(refusals)
        self._opened: asyncio.Queue[Connection] = asyncio.Queue()
        self.topics: Sequence[tuple[str, int]] = ()

    async def connect(self, topics: Sequence[tuple[str, int]], receive: Receive) -> Connection:
        self.topics = topics
        if self._refusals:
            raise self._refusals.pop(0)
        connection = Connection(receive)
        await self._opened.put(connection)
        return connection

    async def connection(self) -> Connection:
        async with asyncio.timeout(WAIT_S):
            return await self._opened.get()


class Intake:
    """Accepts what `judge` does not raise for, and keeps its content."""

    def __init__(self) -> None:
        self.admitted: list[bytes] = []
        self.judge: Callable[[Sequence[RawReading]], Awaitable[None]] | None = None

    async def admit(self, readings: Sequence[RawReading]) -> Sequence[ReadingResult]:
        if self.judge is not None:
            await self.judge(readings)
        self.admitted += [reading.content for reading in readings]
        return [ReadingResult(ReadingStatus.ACCEPTED) for _ in readings]


@asynccontextmanager
async def running(server: Server, intake: Intake) -> Any:
    stop = asyncio.Event()
    source = MqttSource(server.connect, RULES, intake, SystemClock(), stop, retry_s=0.001)
    task = asyncio.create_task(source.run())
    try:
        yield source, stop
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await task


async def answer(delivery: "asyncio.Task[bool]") -> bool:
    async with asyncio.timeout(WAIT_S):
        return await delivery


async def test_a_message_may_be_acknowledged_after_it_was_admitted() -> None:
    server, intake, may_go_on = Server(), Intake(), asyncio.Event()

    async def hold(_readings: Sequence[RawReading]) -> None:
        await may_go_on.wait()

    intake.judge = hold
    async with running(server, intake) as (source, _):
        connection = await server.connection()
        assert server.topics == [("ward/+", 1), ("fast/+", 0)]
        delivery = connection.deliver("ward/1", b'{"n": 1}')
        for _ in range(20):
            await asyncio.sleep(0)
        assert not delivery.done()
        may_go_on.set()
        assert await answer(delivery)
        assert source.state() == "ok"
    assert intake.admitted == [b'{"n": 1}']
    assert connection.is_closed


async def test_messages_are_admitted_in_their_order() -> None:
    server, intake = Server(), Intake()
    async with running(server, intake):
        connection = await server.connection()
        deliveries = [connection.deliver("ward/1", b"%d" % n) for n in range(500)]
        assert all([await answer(each) for each in deliveries])
    assert intake.admitted == [b"%d" % n for n in range(500)]


async def test_a_store_that_is_unavailable_delays_the_acknowledgement() -> None:
    server, intake, failures = Server(), Intake(), iter(range(3))

    async def fail(_readings: Sequence[RawReading]) -> None:
        if next(failures, None) is not None:
            raise StoreUnavailable("away")

    intake.judge = fail
    async with running(server, intake):
        connection = await server.connection()
        deliveries = [connection.deliver("ward/1", b"%d" % n) for n in range(3)]
        assert all([await answer(each) for each in deliveries])
    assert intake.admitted == [b"0", b"1", b"2"]
    assert next(failures, None) is None


async def test_a_message_on_which_the_code_fails_stops_no_other_and_is_not_acknowledged() -> None:
    server, intake = Server(), Intake()

    async def fail(readings: Sequence[RawReading]) -> None:
        if any(reading.content == b"bad" for reading in readings):
            raise RuntimeError("a fault")

    intake.judge = fail
    async with running(server, intake):
        connection = await server.connection()
        deliveries = [connection.deliver("ward/1", content) for content in (b"1", b"bad", b"2")]
        assert [await answer(each) for each in deliveries] == [True, False, True]
    assert intake.admitted == [b"1", b"2"]


async def test_what_a_lost_connection_has_brought_is_not_acknowledged_and_a_new_one_is_opened() -> None:
    server, intake, may_go_on = Server(), Intake(), asyncio.Event()

    async def hold(_readings: Sequence[RawReading]) -> None:
        await may_go_on.wait()

    intake.judge = hold
    async with running(server, intake) as (source, _):
        first = await server.connection()
        deliveries = [first.deliver("ward/1", b"%d" % n) for n in range(mqtt.MAX_BATCH + 5)]
        for _ in range(20):
            await asyncio.sleep(0)
        first.lose("cut")
        assert not any([await answer(each) for each in deliveries])
        may_go_on.set()
        second = await server.connection()
        assert await answer(second.deliver("ward/1", b"again"))
        assert source.state() == "ok"
    assert intake.admitted == [b"again"]


async def test_a_server_that_refuses_is_tried_again_and_the_reason_is_shown() -> None:
    server, intake = Server(*[MqttUnreachable("the password is wrong")] * 3), Intake()
    async with running(server, intake) as (source, _):
        connection = await server.connection()
        assert await answer(connection.deliver("ward/1"))
        assert source.state() == "ok"
        connection.lose("cut")
        await server.connection()
    fresh = MqttSource(server.connect, RULES, intake, SystemClock(), asyncio.Event())
    assert fresh.state() == "not connected yet"


async def test_a_stop_ends_after_the_messages_under_way() -> None:
    server, intake, may_go_on = Server(), Intake(), asyncio.Event()

    async def hold(_readings: Sequence[RawReading]) -> None:
        await may_go_on.wait()

    intake.judge = hold
    async with running(server, intake) as (_, stop):
        connection = await server.connection()
        delivery = connection.deliver("ward/1")
        for _ in range(20):
            await asyncio.sleep(0)
        stop.set()
        assert not await answer(connection.deliver("ward/1", b"too late"))
        may_go_on.set()
        assert await answer(delivery)
    assert intake.admitted == [b"{}"]


async def test_a_stop_while_the_store_is_away_acknowledges_nothing() -> None:
    server, intake, has_failed = Server(), Intake(), asyncio.Event()

    async def fail(_readings: Sequence[RawReading]) -> None:
        has_failed.set()
        raise StoreUnavailable("away")

    intake.judge = fail
    async with running(server, intake):
        connection = await server.connection()
        deliveries = [connection.deliver("ward/1", b"%d" % n) for n in range(mqtt.MAX_BATCH + 5)]
        await has_failed.wait()
    assert not any([await answer(each) for each in deliveries])


async def test_messages_without_acknowledgement_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "MAX_WAITING", 2)
    server, intake, may_go_on = Server(), Intake(), asyncio.Event()

    async def hold(_readings: Sequence[RawReading]) -> None:
        await may_go_on.wait()

    intake.judge = hold
    async with running(server, intake):
        connection = await server.connection()
        deliveries = [connection.deliver("fast/1", b"%d" % n, qos=0) for n in range(5)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert [each.done() for each in deliveries] == [False, False, True, True, True]
        may_go_on.set()
        assert all([await answer(each) for each in deliveries])
    assert intake.admitted == [b"0", b"1"]


async def test_a_message_of_a_topic_without_a_rule_is_acknowledged_and_not_admitted() -> None:
    server, intake = Server(), Intake()
    async with running(server, intake):
        connection = await server.connection()
        assert await answer(connection.deliver("other/1"))
    assert intake.admitted == []
