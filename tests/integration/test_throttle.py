"""The intake slows down while workers are behind, here or in another process, and never for a subscriber."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta

from broker.ingest.throttle import MIN_UNDER_WAY
from broker.store import keys
from broker.store.lag_board import LagBoard
from broker.store.protocol import Store
from broker.telemetry import metrics
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from broker.workers.lag_reporter import LagReporter
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, BrokerFixture, Gate, Script, broker_with, until
from tests.metrics import read_total

TARGET = timedelta(milliseconds=50)
DELAY = "broker_intake_delay_seconds_total"
READING = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72)


@contextlib.asynccontextmanager
async def a_worker_far_behind(store: Store) -> AsyncIterator[None]:
    """Another process whose dispatcher is 100 s behind."""
    stop = asyncio.Event()
    lags = {"dispatcher": lambda: 100.0}
    reporter = LagReporter(lags, LagBoard(store), TARGET, stop)
    reporting = asyncio.create_task(reporter.run())
    try:
        yield
    finally:
        stop.set()
        await reporting


async def fill(broker_fixture: BrokerFixture) -> None:
    """Sends as many changes as may be under way, together. They may be refused."""
    entry = {"resource": READING, "request": {"method": "POST", "url": "Observation"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry] * MIN_UNDER_WAY}
    assert (await broker_fixture.client.post("/r4", json=bundle)).status_code in {200, 503}


async def until_delayed(broker_fixture: BrokerFixture) -> None:
    async def is_delayed() -> bool:
        await fill(broker_fixture)
        await broker_fixture.send(2)
        return await read_total(broker_fixture.client, DELAY) > 0

    await until(is_delayed)


async def test_a_worker_behind_in_another_process_slows_requests_and_the_inbox_down(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    async with (
        broker_with(start_broker, subscriber, target_lag=TARGET) as broker_fixture,
        a_worker_far_behind(store),
    ):
        await until_delayed(broker_fixture)

        async def is_accepted() -> bool:
            return bool((await store.send([("XLEN", keys.INBOX)]))[0] == 0)

        async def is_inbox_delayed() -> bool:
            await fill(broker_fixture)
            before_s = await read_total(broker_fixture.client, DELAY)
            await store.send([("XADD", keys.INBOX, "*", "resource", json.dumps(READING))])
            await until(is_accepted)
            return await read_total(broker_fixture.client, DELAY) > before_s

        await until(is_inbox_delayed)


async def test_changes_that_would_wait_too_long_get_503_with_retry_after_until_the_lag_is_over(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    async with broker_with(
        start_broker, subscriber, target_lag=TARGET, max_delay=timedelta(milliseconds=1)
    ) as broker_fixture:
        client = broker_fixture.client
        async with a_worker_far_behind(store):

            async def is_refused() -> bool:
                await fill(broker_fixture)
                answers = await asyncio.gather(
                    *(client.post("/r4/Observation", json=READING) for _ in range(8))
                )
                refused = [answer for answer in answers if answer.status_code == 503]
                assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
                assert all(answer.json()["issue"][0]["code"] == "throttled" for answer in refused)
                return bool(refused)

            await until(is_refused)

        async def is_accepted() -> bool:
            return (await client.post("/r4/Observation", json=READING)).status_code == 201

        await until(is_accepted)


async def until_no_lag(broker_fixture: BrokerFixture) -> None:
    """Until the workers report that they are not behind: what they reported before is taken away first."""
    workers = ("matcher", "dispatcher")

    async def lags() -> list[float]:
        return [
            await read_total(broker_fixture.client, "broker_lag_seconds", worker=each) for each in workers
        ]

    async def are_reported() -> bool:
        return min(await lags()) >= 0

    async def is_over() -> bool:
        for each in workers:
            metrics.lag.labels(each).set(-1)
        await until(are_reported)
        return max(await lags()) == 0

    await until(is_over)


async def test_subscribers_that_are_slow_or_refuse_do_not_slow_the_intake_down(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    """The intake slows down by what workers report as their lag."""
    async with broker_with(
        start_broker, subscriber, target_lag=TARGET, retry_budget=timedelta(hours=1)
    ) as broker_fixture:
        for name in ("silent", "refusing", "well"):
            await broker_fixture.subscribe(name)
        gate, refusing = Gate(), subscriber.endpoint("refusing")
        subscriber.endpoint("silent").answer = gate
        refusing.answer = Script(*[503] * 10_000)
        await broker_fixture.send(100)
        await broker_fixture.until_numbers("well", 100)
        await gate.until_entered()
        for _ in range(2):  # before another attempt, and after it
            await until_no_lag(broker_fixture)
            assert await subscriber.wait_for_more(refusing, len(refusing.received), WAIT_S)
        gate.opened.set()
        await broker_fixture.until_numbers("silent", 100)
        await until_no_lag(broker_fixture)
        assert refusing.numbers == [], "it still refuses"
