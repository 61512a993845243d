"""Five Subscriptions whose endpoints are broken in five ways, for the tests of what a person sees at three in
the morning.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture, Gate, until
from tests.ports import free_port

PATIENT = timedelta(minutes=10)
"""Attempts after a failure are so far apart, and handshakes are repeated for so long."""
DELAYS: Mapping[str, Any] = {
    "handshake_grace": PATIENT,
    "retry_base": PATIENT,
    "retry_max": PATIENT,
    "retry_budget": 60 * PATIENT,
}
"""The settings of a broker whose next attempt after a failure is far enough to be read on a page."""


class BrokenEndpoint(NamedTuple):
    """What the pages say: the cause, and the beginning of what a person does. `is_final`: the broker does not
    attempt again.
    """

    cause: str
    advice: str
    is_final: bool = False


ENDPOINTS: Mapping[str, BrokenEndpoint] = {
    "closed": BrokenEndpoint("no connection: Connection refused", "Start the receiver"),
    "slow": BrokenEndpoint("no answer within 1 s", "too slow or hangs"),
    "failing": BrokenEndpoint("the endpoint answered 500 Internal Server Error", "Look at its log"),
    "locked": BrokenEndpoint("the endpoint answered 401 Unauthorized", "Correct the Authorization header"),
    "gone": BrokenEndpoint("the endpoint answered 410 Gone", "Delete the Subscription", is_final=True),
}


class _Refusing:
    """An endpoint that answers with a status, whatever comes."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def __call__(self, _body: bytes) -> Answer:
        return Answer(self._status)


@asynccontextmanager
async def broken_endpoints(fixture: BrokerFixture) -> AsyncIterator[Mapping[str, str]]:
    """The ids of the Subscriptions by the names of `ENDPOINTS`, after their handshakes. The broker has
    `DELAYS`.
    """
    # nobody else listens there later
    async with SimulatedSubscriber(port=free_port()) as stopped:
        ids = {name: await _subscribe(fixture, name) for name in ("failing", "locked", "gone")}
        ids["slow"] = await _subscribe(fixture, "slow", timeout_s=1)
        ids["closed"] = await _subscribe(fixture, "closed", endpoint=stopped.url("closed"))
    slow = Gate()
    for name, status in (("failing", 500), ("locked", 401), ("gone", 410)):
        fixture.subscriber.endpoint(name).answer = _Refusing(status)
    fixture.subscriber.endpoint("slow").answer = slow
    try:
        yield ids
    finally:
        slow.opened.set()


async def _subscribe(
    fixture: BrokerFixture, name: str, endpoint: str = "", timeout_s: int | None = None
) -> str:
    """An active Subscription. A handshake that failed because the machine paused is repeated."""
    options: dict[str, Any] = {} if timeout_s is None else {"timeout_s": timeout_s}
    document = fixture.document(name, **options) | ({"endpoint": endpoint} if endpoint else {})
    registered = await fixture.client.post("/r5/Subscription", json=document)
    assert registered.status_code == 201, registered.text
    subscription_id = str(registered.json()["id"])

    async def is_active() -> bool:
        if await fixture.status(subscription_id) == "active":
            return True
        retried = await fixture.client.post(f"/r5/Subscription/{subscription_id}/$retry")
        assert retried.status_code == 200, retried.text
        return False

    await until(is_active)
    return subscription_id
