"""The cost of a scrape: the commands that `GET /metrics` sends to the store."""

import httpx
import pytest

from broker.api.authentication import authenticate_open
from broker.api.login_audit import LoginAudit
from broker.app.api import build_health_app
from broker.services.health import Health
from broker.services.login_failures import LoginFailures
from broker.store.audit_journal import AuditJournal
from broker.store.change_log import ChangeLog
from broker.store.counters import Counters
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from tests.metrics import total
from tests.stores import redis_of
from tests.subscriptions import stored_subscription

FEW, MANY = 2, 400


async def register(store: Store, first: int, end: int) -> None:
    subscriptions = Subscriptions(store)
    for n in range(first, end):
        await subscriptions.put(stored_subscription(f"s{n}"), create=True)


async def scrape(store: Store) -> tuple[dict[str, int], str]:
    """The number of calls of each command that one scrape sends, and the page that it returns."""
    health = Health(store, ChangeLog(store, max_changes=1_000), Counters(store), takes_changes=False)
    transport = httpx.ASGITransport(
        build_health_app(health, LoginAudit(authenticate_open, LoginFailures(AuditJournal(store))))
    )
    redis = redis_of(store)
    await redis.config_resetstat()
    async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
        response = await client.get("/metrics")
    assert response.status_code == 200
    statistics = await redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in statistics.items()}
    return {
        name: count for name, count in calls.items() if not name.startswith(("config", "info"))
    }, response.text


async def test_a_scrape_costs_the_same_with_few_and_with_many_subscriptions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.api.health._METRICS_TIMEOUT_S", 60)
    await register(store, 0, FEW)
    await scrape(store)  # from now on the page has the metrics of this request
    commands_for_few, page = await scrape(store)
    assert total(page, "broker_subscriptions", status="requested") == FEW
    samples = len(page.splitlines())
    await register(store, FEW, MANY)
    commands_for_many, page = await scrape(store)
    assert total(page, "broker_subscriptions", status="requested") == MANY
    assert commands_for_many == commands_for_few
    assert 0 < sum(commands_for_few.values()) < 50
    assert len(page.splitlines()) == samples
