"""Fixtures of the integration tests."""

import httpx
import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture


@pytest.fixture
def broker_fixture(client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> BrokerFixture:
    """A producer and a subscriber of the broker under test."""
    return BrokerFixture(client, subscriber)
