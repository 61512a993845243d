"""Which subscriptions a success at their receiver wakes."""

import pytest

from broker.delivery import recovery
from broker.delivery.recovery import WOKEN_BY_A_SUCCESS, WaitingReceivers
from broker.model.change import DEFAULT_TENANT
from broker.model.subscription import SubscriptionId, SubscriptionKey

ORIGIN = "https://ehr.example.org"


def key(n: int) -> SubscriptionKey:
    return DEFAULT_TENANT, SubscriptionId(f"s{n}")


def test_a_success_wakes_those_that_wait_longest_once() -> None:
    waiting = WaitingReceivers()
    for n in range(3):
        waiting.add(ORIGIN, key(n))
    waiting.add(ORIGIN, key(0))
    assert waiting.take("https://other.example.org") == []
    assert waiting.take(ORIGIN) == [key(1), key(2)]
    assert WOKEN_BY_A_SUCCESS == 2
    assert waiting.take(ORIGIN) == [key(0)]
    assert waiting.take(ORIGIN) == []


def test_no_more_than_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MAX_WAITING", 3)
    waiting = WaitingReceivers()
    for n in range(5):
        waiting.add(f"https://e{n}.example.org", key(n))
    assert [n for n in range(5) if waiting.take(f"https://e{n}.example.org")] == [2, 3, 4]
