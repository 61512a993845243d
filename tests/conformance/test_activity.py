"""What processes report of themselves: on every store, bounded, and read by each process once."""

import asyncio

from broker.services.health import Health
from broker.store import keys
from broker.store.activity import KEEP_MS, Activity
from broker.store.change_log import ChangeLog
from broker.store.counters import Counters
from broker.store.protocol import Store
from broker.telemetry import metrics
from broker.workers.activity_recorder import ActivityRecorder
from tests.conftest import ALL_STORES

STORES = ALL_STORES


def recorder(store: Store, process: str) -> ActivityRecorder:
    health = Health(store, ChangeLog(store, max_changes=1_000), Counters(store), takes_changes=False)
    health.workers = {"matcher": lambda: "ok", "dispatcher": lambda: f"failed in {process}"}
    lags = {"matcher": lambda: 0.25}
    return ActivityRecorder(Activity(store), health, lags, process, ["match"], asyncio.Event())


async def test_each_process_reports_itself_and_one_of_them_the_totals(store: Store) -> None:
    first, second = recorder(store, "a:1"), recorder(store, "b:2")
    metrics.delivery_latency.observe(0.02)
    metrics.delivery_latency.observe(1_000_000)
    await first.record()
    await second.record()
    await first.record()
    activity = Activity(store)
    recorded, position = await activity.read()
    samples = [each.sample for each in recorded]
    assert [sample.process for sample in samples] == ["a:1", "b:2", "a:1"]
    assert samples[0].latencies == {"0.025": 1, "inf": 1}
    assert samples[2].latencies == {}  # nothing since the report before
    assert samples[0].problems == {"dispatcher": "failed in a:1"}
    assert samples[0].lags_s == {"matcher": 0.25}
    assert [sample.totals is not None for sample in samples] == [True, False, False]
    assert await activity.read(position) == ([], position)
    await second.record()
    assert [each.sample.process for each in (await activity.read(position))[0]] == ["b:2"]


async def test_reports_that_are_too_old_are_removed_by_the_next(store: Store) -> None:
    old = [("XADD", keys.ACTIVITY, f"{number}-0", "r", b'{"process":"old:1"}') for number in range(1, 500)]
    await store.send(old)
    await recorder(store, "a:1").record()
    recorded, _ = await Activity(store).read()
    assert len(recorded) < 300  # a stream is trimmed by whole nodes
    newest = recorded[-1]
    assert newest.sample.process == "a:1"
    ((seconds, _),) = await store.send([("TIME",)])
    assert int(seconds) * 1000 - newest.at_ms < KEEP_MS
