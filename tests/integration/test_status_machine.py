"""The status of a Subscription as its client sees it, over sequences of what clients, endpoints and producers
may do (R-150..R-158).

A small model says which status each step leads to, what is counted and what arrives; the broker is a real
one, over HTTP. Its loop runs in a thread of its own, for the state machine is not asynchronous.
"""

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker.app import running
from broker.settings import Settings
from broker.testing.subscriber import Answer, Endpoint, SimulatedSubscriber
from tests.integration.broker_fixture import WAIT_S, BrokerFixture
from tests.stores import SharedStore

pytestmark = pytest.mark.usefixtures("long_leases")
T = TypeVar("T")
RELEASES = st.sampled_from(["r4", "r4b", "r5"])
ASKING = st.sampled_from(["requested", "active"])
ANSWERS = st.sampled_from([200, 200, 200, 404, 410])
FAILURES = st.sampled_from([404, 410])


class Bench:
    """A broker, a subscriber, and a witness whose endpoint always answers 200; lives in a thread."""

    def __init__(self, settings: Settings, store: SharedStore) -> None:
        self._settings = settings
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._living: asyncio.Task[None] | None = None
        self.broker_fixture: BrokerFixture

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * WAIT_S)

    async def _live(self) -> None:
        headers = {"Content-Type": "application/fhir+json"}
        await self._store.flush()
        async with (
            running(self._settings) as broker,
            httpx.AsyncClient(
                base_url=broker.settings.base_url, headers=headers, timeout=60, trust_env=False
            ) as client,
            SimulatedSubscriber() as subscriber,
        ):
            self.broker_fixture = BrokerFixture(client, subscriber)
            self.witness = await self.broker_fixture.subscribe("witness", max_count=100)
            self._ready.set()
            await self._stop.wait()

    async def _begin(self) -> None:
        self._living = asyncio.create_task(self._live())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([self._living, ready], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._living

    async def _end(self) -> None:
        self._stop.set()
        if self._living is not None:
            await self._living

    def begin(self) -> None:
        self._thread.start()
        self.do(self._begin())

    def end(self) -> None:
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


class StatusMachine(RuleBasedStateMachine):
    """One subscription, by one id, through all that may happen to it. `status` '' means there is none."""

    bench: ClassVar[Bench]
    names: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.broker_fixture = self.bench.broker_fixture
        self.id = ""
        self.status = ""
        self.count = 0
        self.answer = 200
        self.endpoint = Endpoint("")

    @initialize(release=RELEASES)
    def it_is_accepted(self, release: str) -> None:
        self.id = f"subscription-{next(self.names)}"
        self._open_an_endpoint()
        self.the_client_asks_for_it(release, "requested", 200)

    def _open_an_endpoint(self) -> None:
        self.endpoint = self.broker_fixture.subscriber.endpoint(f"{self.id}-{next(self.names)}")
        self.endpoint.answer = self._answered

    async def _answered(self, _body: bytes) -> Answer:
        return Answer(self.answer)

    def _put(self, release: str, status: str) -> httpx.Response:
        document = self.broker_fixture.document(self.endpoint.name, release=release)
        document |= {"id": self.id, "status": status}
        return self.bench.do(
            self.broker_fixture.client.put(f"/{release}/Subscription/{self.id}", json=document)
        )

    def _settle(self, status: str) -> None:
        self.status = status
        self.bench.do(self.broker_fixture.until_status(self.id, status))

    def _until_delivered(self) -> None:
        async def delivered() -> None:
            await self.broker_fixture.until_numbers(self.endpoint.name, self.count)
            await self.broker_fixture.until_delivered(self.id, self.count)

        if self.count:
            self.bench.do(delivered())

    @rule(release=RELEASES, status=ASKING, answer=ANSWERS)
    def the_client_asks_for_it(self, release: str, status: str, answer: int) -> None:
        """R-151: `active` asks for what `requested` does; R-152: the handshake decides; R-154: and nothing
        else leaves `error`.
        """
        received_before, self.answer = len(self.endpoint.received), answer
        response = self._put(release, status)
        assert response.status_code == (200 if self.status else 201)
        assert response.json()["status"] == "requested"
        assert "error" not in response.json(), "R-157"
        self._settle("active" if self.answer == 200 else "error")
        handshake = self.endpoint.received[received_before].notification
        assert handshake is not None
        assert (handshake.type, handshake.status) == ("handshake", "requested"), "R-262"
        assert handshake.events_since_start == self.count, "R-160, R-261"
        if self.answer == 200:
            self._until_delivered()

    @rule(release=RELEASES)
    def the_client_turns_it_off(self, release: str) -> None:
        response = self._put(release, "off")
        assert response.status_code == (200 if self.status else 201)
        assert response.json()["status"] == "off"
        self.status = "off"

    @rule(release=RELEASES, status=st.sampled_from(["error", "entered-in-error", "sleeping"]))
    def the_client_says_what_is_not_its_to_say(self, release: str, status: str) -> None:
        response = self._put(release, status)
        assert response.status_code in {400, 422}
        assert response.json()["resourceType"] == "OperationOutcome"

    @rule()
    def the_client_deletes_it(self) -> None:
        response = self.bench.do(self.broker_fixture.client.delete(f"/r5/Subscription/{self.id}"))
        assert response.status_code == 204, "repeating a delete does nothing"
        self.status, self.count = "", 0
        self._open_an_endpoint()

    @precondition(lambda self: self.status)
    @rule()
    def something_happens(self) -> None:
        """However willing the endpoint is: only the client leads out of `error` and `off` (R-154)."""
        self._happen(200)

    @precondition(lambda self: self.status == "active")
    @rule(answer=FAILURES)
    def the_endpoint_fails(self, answer: int) -> None:
        self._happen(answer)

    def _happen(self, answer: int) -> None:
        """R-156, R-272: counted while active or in error; sent while active only."""
        self.answer = answer
        before = len(self.endpoint.received)
        witnessed = int(
            self.bench.do(self.broker_fixture.status_of(self.bench.witness))["eventsSinceSubscriptionStart"]
        )
        self.bench.do(self.broker_fixture.send())
        was = self.status
        self.count += was in {"active", "error"}
        self.bench.do(self.broker_fixture.until_counted(self.id, self.count))
        self.bench.do(self.broker_fixture.until_numbers("witness", witnessed + 1))
        if was == "active":
            self._settle({200: "active", 404: "error", 410: "off"}[self.answer])
            attempts = {200: 1, 404: 3, 410: 1}[self.answer]
            if self.answer == 200:
                self._until_delivered()
        else:
            attempts = 0
        assert len(self.endpoint.received) == before + attempts, (
            "R-158: what is off or in error is sent nothing"
        )

    @invariant()
    def every_release_tells_the_status_of_the_model(self) -> None:
        if not self.id:
            return
        for release in ("r4", "r5"):
            read = self.bench.do(self.broker_fixture.client.get(f"/{release}/Subscription/{self.id}"))
            if not self.status:
                assert read.status_code == 410
                continue
            assert read.json()["status"] == self.status
            if release == "r4" and self.status != "off":
                assert ("error" in read.json()) is (self.status == "error"), "R-155"

    @invariant()
    def the_status_answers_with_the_count(self) -> None:
        if not self.status:
            return
        reported = self.bench.do(self.broker_fixture.status_of(self.id))
        assert (reported["status"], reported["type"]) == (self.status, "query-status")
        assert reported["eventsSinceSubscriptionStart"] == str(self.count)
        if self.status in {"error", "active"}:
            assert bool(reported.get("error")) is (self.status == "error"), "R-155, R-157"

    @invariant()
    def what_arrived_has_no_gap_and_no_repetition(self) -> None:
        assert self.endpoint.numbers == list(range(1, len(self.endpoint.numbers) + 1))
        assert self.endpoint.duplicates == 0


@pytest.fixture
def bench(settings: Settings, shared_store: SharedStore) -> Iterator[Bench]:
    bench = Bench(settings, shared_store)
    bench.begin()
    yield bench
    bench.end()


def test_the_status_follows_the_state_machine_under_any_sequence(bench: Bench) -> None:
    StatusMachine.bench = bench
    run_state_machine_as_test(
        StatusMachine,
        settings=hypothesis_settings(
            max_examples=7,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
