"""The subscriptions and tenants that are furthest behind, as the metrics show them."""

import asyncio

from broker.store import keys
from broker.store.backlogs import BacklogSample
from broker.store.counters import Counters
from broker.store.protocol import Store
from broker.telemetry.store_metrics import NO_BACKLOGS, Backlogs
from broker.workers.backlog_sampler import BacklogSampler
from tests.integration.broker_fixture import WAIT_S, BrokerFixture, Gate, until
from tests.metrics import total

HOUR_MS = 3_600_000


def series(backlogs: Backlogs) -> tuple[list[tuple[str, int]], list[tuple[str, int, int]]]:
    return (
        [(each.subscription, each.undelivered) for each in backlogs.subscriptions],
        [(each.tenant, each.undelivered, each.subscriptions) for each in backlogs.tenants],
    )


async def test_the_subscriptions_with_the_most_undelivered_events_have_series_until_they_catch_up(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    sample = BacklogSample(store, 2)

    async def has_turn() -> bool:
        return await sample.is_my_turn(HOUR_MS)

    await until(has_turn)  # the broker takes no sample of its own
    gates = {name: Gate() for name in ("far", "near", "least")}
    ids = {}
    for n, (name, gate) in enumerate(gates.items(), 1):
        ids[name] = await broker_fixture.subscribe(name, timeout_s=60)
        broker_fixture.subscriber.endpoint(name).answer = gate
        await broker_fixture.send(2)
        # matched: a change shortly before an activation may be an event of that subscription too
        await broker_fixture.until_counted(ids["far"], 2 * n)
    await broker_fixture.until_counted(ids["near"], 4)
    await broker_fixture.until_counted(ids["least"], 2)
    found = await sample.take(HOUR_MS)
    assert series(found) == ([(ids["far"], 6), (ids["near"], 4)], [("default", 12, 3)])
    assert all(each.oldest_s >= 0 for each in found.subscriptions)
    page = (await broker_fixture.client.get("/metrics")).text
    assert total(page, "broker_subscription_undelivered_events", subscription=ids["far"]) == 6
    assert ids["least"] not in page
    await broker_fixture.request_again(ids["least"], status="off")
    found = await BacklogSample(store, 10).take(HOUR_MS)
    assert series(found) == ([(ids["far"], 6), (ids["near"], 4)], [("default", 10, 2)])
    gates["far"].opened.set()
    await broker_fixture.until_numbers("far", 6)
    for gate in gates.values():
        gate.opened.set()
    await broker_fixture.until_numbers("near", 4)

    async def is_empty() -> bool:
        return await sample.take(HOUR_MS) == NO_BACKLOGS._replace(subscriptions=[], tenants=[])

    await until(is_empty)
    page = (await broker_fixture.client.get("/metrics")).text
    assert "broker_subscription_undelivered_events{" not in page


class ReportingSample(BacklogSample):
    """Says when it was taken: what it stores may have expired before a test looks."""

    def __init__(self, store: Store, series: int) -> None:
        super().__init__(store, series)
        self.taken = asyncio.Event()

    async def take(self, keep_ms: int) -> Backlogs:
        found = await super().take(keep_ms)
        self.taken.set()
        return found


async def test_one_process_at_a_time_samples_and_what_it_found_expires(store: Store) -> None:
    first, second = BacklogSample(store, 2), ReportingSample(store, 2)
    assert await first.is_my_turn(HOUR_MS)
    assert not await second.is_my_turn(HOUR_MS)
    await store.send([("DEL", keys.BACKLOGS_TURN)])
    stop = asyncio.Event()
    running = asyncio.create_task(BacklogSampler(second, stop, period_s=0.01).run())

    async with asyncio.timeout(WAIT_S):
        await second.taken.wait()
    stop.set()
    await running

    async def has_expired() -> bool:
        (number,) = await store.send([("EXISTS", keys.BACKLOGS)])
        return not number

    await until(has_expired)
    assert (await Counters(store).read()).backlogs == NO_BACKLOGS
