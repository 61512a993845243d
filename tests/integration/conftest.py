"""Fixtures of the integration tests."""

import httpx
import pytest

from broker.testing.subscriber import SimulatedSubscriber
from broker.workers import partition_leases
from tests.integration.broker_fixture import BrokerFixture

LONG_LEASE_MS = 60_000


@pytest.fixture
def long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that count attempts or deliveries: brokers of this process that stand still for seconds, as
    on a loaded machine, keep their claims and partitions, so they repeat nothing.
    """
    monkeypatch.setattr("broker.app.parts.LEASE_MS", LONG_LEASE_MS)
    monkeypatch.setattr(partition_leases, "LEASE_MS", LONG_LEASE_MS)
    monkeypatch.setattr(partition_leases, "CERTAIN_S", LONG_LEASE_MS / 2000)


@pytest.fixture
def broker_fixture(client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> BrokerFixture:
    """A producer and a subscriber of the broker under test."""
    return BrokerFixture(client, subscriber)
