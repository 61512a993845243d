"""Metrics: their names, and the gauges that are read from the store."""

from collections.abc import Iterator

import pytest

from broker.telemetry import metrics


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    metrics.subscriptions.clear()
    metrics.matcher_backlog.clear()
    metrics.undelivered_events.set(0)


def lines() -> list[str]:
    return metrics.render().decode().splitlines()


def value(series: str) -> float:
    return next(float(line.removeprefix(series)) for line in lines() if line.startswith(f"{series} "))


def test_every_name_belongs_to_the_broker() -> None:
    assert all(line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("broker_") for line in lines())


def test_counters_and_latency_are_rendered() -> None:
    before = value("broker_store_errors_total")
    metrics.store_errors.inc()
    metrics.events_appended.inc(3)
    metrics.changes_matched.inc(2)
    metrics.inbox_refused.inc()
    metrics.changes_accepted.labels(interaction="create").inc()
    metrics.notifications.labels(type="heartbeat", outcome="delivered").inc()
    metrics.delivery_latency.observe(0.2)
    assert value("broker_store_errors_total") == before + 1
    assert value('broker_changes_accepted_total{interaction="create"}') >= 1
    assert value('broker_notifications_total{outcome="delivered",type="heartbeat"}') >= 1
    assert value("broker_delivery_latency_seconds_count") >= 1


async def test_gauges_show_the_store_as_it_is_now() -> None:
    async def depths() -> dict[tuple[str, str], tuple[str, int, bool]]:
        return {
            ("t", "a"): ("active", 2, False),
            ("t", "b"): ("active", 0, False),
            ("t", "c"): ("error", 5, True),
        }

    async def backlog() -> dict[int, int]:
        return {0: 7, 1: 0}

    async def no_depths() -> dict[tuple[str, str], tuple[str, int, bool]]:
        return {}

    async def no_backlog() -> dict[int, int]:
        return {0: 1}

    async def letters() -> dict[str, int]:
        return {"change": 3, "event": 0}

    await metrics.observe_store(depths, backlog, letters)
    assert value('broker_dead_letters{kind="change"}') == 3
    assert value('broker_dead_letters{kind="event"}') == 0
    assert value('broker_subscriptions{status="active"}') == 2
    assert value('broker_subscriptions{status="error"}') == 1
    assert value("broker_subscriptions_with_gaps") == 1
    assert value('broker_subscriptions{status="off"}') == 0
    assert value("broker_undelivered_events") == 7
    assert value('broker_matcher_backlog{partition="0"}') == 7
    await metrics.observe_store(no_depths, no_backlog, letters)
    assert value('broker_subscriptions{status="active"}') == 0
    assert value("broker_undelivered_events") == 0
    assert not [line for line in lines() if line.startswith('broker_matcher_backlog{partition="1"}')]


async def test_a_store_that_is_away_leaves_the_gauges_as_they_were() -> None:
    async def depths() -> dict[str, tuple[str, int, bool]]:
        raise ConnectionError("away")

    async def backlog() -> dict[int, int]:
        return {0: 9}

    async def letters() -> dict[str, int]:
        return {}

    metrics.undelivered_events.set(4)
    with pytest.raises(ConnectionError):
        await metrics.observe_store(depths, backlog, letters)
    assert value("broker_undelivered_events") == 4
