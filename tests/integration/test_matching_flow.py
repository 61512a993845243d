"""From an accepted change to its events: across FHIR bases, across matchers, and when either fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from broker.app import ALL_ROLES, Role, Running
from broker.app.matcher import build_matcher
from broker.app.parts import Parts
from broker.app.topics import build_topic_sync
from broker.errors import StoreUnavailable
from broker.matching.context import SearchContext
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Match
from broker.matching.states import NOTHING_RELATED, Related
from broker.model.change import DEFAULT_TENANT, Change
from broker.model.subscription import SubscriptionKey
from broker.store import keys
from broker.store.change_log import ChangeLog
from broker.store.matched_positions import START
from broker.store.outbox import Context, Fenced, Outboxes
from broker.store.protocol import Store
from broker.store.records import logged_change
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from broker.workers.poison import MAX_ATTEMPTS
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, parts_of, until, until_matched
from tests.stores import redis_of

pytestmark = pytest.mark.usefixtures("long_leases")
_NOW = "2025-03-01T08:00:00Z"


def client_of(broker: Running) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/fhir+json"}
    return httpx.AsyncClient(base_url=broker.settings.base_url, headers=headers, timeout=30, trust_env=False)


async def dead_letters(store: Store, resource_id: str) -> Any:
    """The dead letters in the partition of a resource, once there is one and no change waits."""
    stream = keys.dead_changes(store.layout.partition_of(DEFAULT_TENANT, resource_id), DEFAULT_TENANT)
    change_log = ChangeLog(store)

    async def holds() -> bool:
        return await redis_of(store).xlen(stream) > 0 and not sum((await change_log.backlog()).values())

    await until(holds)
    return await redis_of(store).xrange(stream)


def reading(resource_id: str, value: float) -> dict[str, Any]:
    return observation(HEART_RATE, "ana", _NOW, value) | {"id": resource_id}


async def test_a_change_at_one_base_reaches_subscriptions_at_every_base(
    broker_fixture: BrokerFixture,
) -> None:
    for release in ("r4", "r4b", "r5"):
        await broker_fixture.subscribe(release, release=release)
    for base in ("r4", "r4b", "r5"):
        response = await broker_fixture.client.put(
            f"/{base}/Observation/from-{base}", json=reading(f"from-{base}", 70)
        )
        assert response.status_code == 201, response.text
    for release in ("r4", "r4b", "r5"):
        endpoint = await broker_fixture.until_numbers(release, 3)
        foci = {event.focus for n in endpoint.of_type("event-notification") for event in n.events}
        root = str(broker_fixture.client.base_url).rstrip("/")
        assert foci == {f"{root}/{release}/Observation/from-{base}" for base in ("r4", "r4b", "r5")}


async def test_a_subscription_active_before_a_change_was_accepted_never_misses_it(
    broker_fixture: BrokerFixture,
) -> None:
    """Activation and change race; whoever saw `active` before posting must get the event."""

    async def race(n: int) -> None:
        name = f"race{n}"
        await broker_fixture.subscribe(name, filters=(f"patient=Patient/p{n}",))
        await broker_fixture.send(1, patient=f"p{n}")
        await broker_fixture.until_numbers(name, 1)

    for start in range(0, 60, 20):
        await asyncio.gather(*(race(n) for n in range(start, start + 20)))


async def test_matchers_share_the_partitions_and_keep_the_order_when_one_stops(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    async def owners() -> set[bytes]:
        leases: Any = await redis_of(store).hgetall(keys.LEASES)
        held = (leases.get(str(p).encode(), b"").split() for p in range(store.layout.partitions))
        return {lease[0] for lease in held if lease and lease[2] != b"0"}

    async def are_two() -> bool:
        return len(await owners()) == 2

    async with start_broker(ALL_ROLES) as broker:
        headers = {"Content-Type": "application/fhir+json"}
        async with httpx.AsyncClient(
            base_url=broker.settings.base_url, headers=headers, timeout=30, trust_env=False
        ) as client:
            broker_fixture = BrokerFixture(client, subscriber)
            await broker_fixture.subscribe("a", release="r4", content="full-resource", max_count=10)
            stop = asyncio.Event()
            written = {f"o{n}": 0 for n in range(6)}
            numbers = subscriber.endpoint("a").numbers

            def is_near() -> bool:
                return sum(written.values()) < len(numbers) + 100

            async def write(name: str) -> None:
                """Waits for the deliveries now and then, so that few are left at the end."""
                while not stop.is_set():
                    response = await client.put(f"/r4/Observation/{name}", json=reading(name, written[name]))
                    assert response.is_success
                    written[name] += 1
                    assert await subscriber.wait_until(is_near)

            async with asyncio.TaskGroup() as tasks:
                for name in written:
                    tasks.create_task(write(name))
                async with start_broker(frozenset({Role.MATCH}), base_url=broker.settings.base_url):
                    await until(are_two)
                received_before = len(numbers)
                assert await subscriber.wait_until(lambda: len(numbers) > received_before + 50)
                stop.set()
            endpoint = await broker_fixture.until_numbers("a", sum(written.values()))
    values: dict[str, list[float]] = {}
    for notification in endpoint.of_type("event-notification"):
        for resource in notification.resources:
            values.setdefault(resource["id"], []).append(resource["valueQuantity"]["value"])
    assert values == {name: list(range(count)) for name, count in written.items()}
    assert endpoint.duplicates == 0


class FailingMatcher(IndexedMatcher):
    """Fails for one version of one resource, at most `failures` times."""

    def __init__(self, context: SearchContext, resource_id: str, version: int, failures: int) -> None:
        super().__init__(context)
        self._failing = resource_id, version
        self._left = failures
        self.attempts = 0

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        if (change.current.key.id, change.current.key.version) == self._failing:
            self.attempts += 1
            if self._left:
                self._left -= 1
                raise RecursionError("too deep")
        return super().match(change, related)


class FailingOutboxes(Outboxes):
    """Raises these errors from the first appends."""

    def __init__(self, store: Store, *errors: Exception) -> None:
        super().__init__(store)
        self._errors = iter(errors)

    async def append(
        self,
        partition: int,
        token: int,
        matched: Mapping[SubscriptionKey, Sequence[Change]],
        contexts: Mapping[tuple[SubscriptionKey, str], Context] = MappingProxyType({}),
    ) -> int:
        for error in self._errors:
            raise error
        return await super().append(partition, token, matched, contexts)


@asynccontextmanager
async def matching(
    broker: Running, store: Store, build: Callable[[Parts], dict[str, Any]]
) -> AsyncIterator[None]:
    """Runs a matcher for the broker, with the arguments of `build_matcher` that `build` returns."""
    parts = parts_of(broker, store)
    topic_sync = build_topic_sync(parts, validates=True)
    await topic_sync.sync()
    worker = asyncio.create_task(build_matcher(parts, topic_sync, **build(parts)).run())
    try:
        yield
    finally:
        parts.stop.set()
        await worker


@asynccontextmanager
async def unmatched(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> AsyncIterator[tuple[Running, BrokerFixture]]:
    """A broker without a matcher."""
    async with start_broker(ALL_ROLES - {Role.MATCH}) as broker, client_of(broker) as client:
        yield broker, BrokerFixture(client, subscriber)


async def test_a_poison_change_becomes_a_dead_letter_and_later_changes_are_matched(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    matchers: list[FailingMatcher] = []

    def build(parts: Parts) -> dict[str, Any]:
        matchers.append(FailingMatcher(parts.search_context, "poison", 1, failures=1_000))
        return {"matcher": matchers[0]}

    async with (
        unmatched(start_broker, subscriber) as (broker, broker_fixture),
        matching(broker, store, build),
    ):
        await broker_fixture.subscribe("a")
        for name in ("before", "poison", "after"):
            response = await broker_fixture.client.put(f"/r4/Observation/{name}", json=reading(name, 70))
            assert response.is_success
        await broker_fixture.until_numbers("a", 2)
        letters = await dead_letters(store, "poison")
    assert [(logged_change(fields).key.id, fields[b"reason"]) for _, fields in letters] == [
        ("poison", b"the matching failed: RecursionError")
    ]
    assert matchers[0].attempts == MAX_ATTEMPTS


async def test_changes_behind_a_temporarily_failing_one_keep_their_order(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    """Changes of the same resource and partition keep their order; other partitions continue meanwhile."""

    def build(parts: Parts) -> dict[str, Any]:
        return {"matcher": FailingMatcher(parts.search_context, "hr", 2, failures=MAX_ATTEMPTS - 1)}

    home = store.layout.partition_of(DEFAULT_TENANT, "hr")
    away = next(f"n{n}" for n in range(99) if store.layout.partition_of(DEFAULT_TENANT, f"n{n}") != home)
    async with unmatched(start_broker, subscriber) as (broker, broker_fixture):
        async with matching(broker, store, lambda _: {}):
            await broker_fixture.subscribe("a", release="r4", content="full-resource")
        for name, value in (("hr", 1), ("hr", 2), ("hr", 3), (away, 4)):
            response = await broker_fixture.client.put(f"/r4/Observation/{name}", json=reading(name, value))
            assert response.is_success
        async with matching(broker, store, build):
            endpoint = await broker_fixture.until_numbers("a", 4)
    values = [
        resource["valueQuantity"]["value"]
        for notification in endpoint.of_type("event-notification")
        for resource in notification.resources
    ]
    assert [value for value in values if value != 4] == [1, 2, 3]
    assert values.index(4) < values.index(2), "another partition did not wait"
    assert await redis_of(store).xlen(keys.dead_changes(home, DEFAULT_TENANT)) == 0


async def test_a_change_with_an_unreadable_version_becomes_a_dead_letter(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    async with start_broker(ALL_ROLES - {Role.MATCH}) as broker:
        async with (
            start_broker(frozenset({Role.MATCH}), base_url=broker.settings.base_url),
            client_of(broker) as client,
        ):
            await BrokerFixture(client, subscriber).subscribe("a")
        async with client_of(broker) as client:
            for name in ("before", "broken", "after"):
                assert (await client.put(f"/r4/Observation/{name}", json=reading(name, 70))).is_success
            partition = store.layout.partition_of(DEFAULT_TENANT, "broken")
            key = keys.resource(partition, DEFAULT_TENANT, "Observation", "broken")
            await redis_of(store).set(key, b"1 r4 create 1700000000000 r 0 0 0\ngarbage")
            async with start_broker(frozenset({Role.MATCH}), base_url=broker.settings.base_url):
                await BrokerFixture(client, subscriber).until_numbers("a", 2)
                [(_, letter)] = await dead_letters(store, "broken")
    assert logged_change(letter).key.id == "broken"
    assert b"Observation/broken can't be read" in letter[b"reason"]
    assert sum((await ChangeLog(store).backlog()).values()) == 0


async def test_changes_that_could_not_be_appended_are_matched_again_before_newer_ones(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store
) -> None:
    """Reading on after a failed append would make the outboxes ignore the older changes as repetitions."""
    errors = (StoreUnavailable("no answer"), Fenced("lost"), StoreUnavailable("no answer"))
    async with (
        unmatched(start_broker, subscriber) as (broker, broker_fixture),
        matching(broker, store, lambda _: {"outboxes": FailingOutboxes(store, *errors)}),
    ):
        await broker_fixture.subscribe("a", max_count=10)
        for n in range(8):
            response = await broker_fixture.client.put("/r4/Observation/hr", json=reading("hr", n))
            assert response.is_success
        endpoint = await broker_fixture.until_numbers("a", 8)
        assert endpoint.duplicates == 0


async def test_a_matcher_that_fell_behind_a_trimmed_registry_starts_over(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    await broker_fixture.subscribe("a")
    for shard in range(store.layout.shards):
        at: Any = await redis_of(store).xrevrange(keys.registry(shard), count=1)
        ms, _, last = at[0][0].partition(b"-") if at else (b"0", b"", b"0")
        # as if a great deal had been written and trimmed before the matcher looked again
        await redis_of(store).xadd(
            keys.registry(shard),
            {"member": "default:gone", "operation": "put"},
            id=f"{int(ms)}-{int(last) + 5}",
        )
        await redis_of(store).xtrim(keys.registry(shard), maxlen=1, approximate=False)
    await broker_fixture.subscribe("b")
    await broker_fixture.send()
    await broker_fixture.until_numbers("a", 1)
    await broker_fixture.until_numbers("b", 1)


async def test_a_position_that_went_back_is_matched_again_and_repeats_no_event(
    broker_fixture: BrokerFixture, store: Store
) -> None:
    """As after a fail-over to a replica that had the changes and not yet the position."""
    await broker_fixture.subscribe("a", release="r4")

    async def put(value: float) -> None:
        response = await broker_fixture.client.put("/r4/Observation/early", json=reading("early", value))
        assert response.is_success

    await put(60)
    await put(61)
    await broker_fixture.until_numbers("a", 2)
    await until_matched(store)
    matching = keys.matching(store.layout.partition_of(DEFAULT_TENANT, "early"))
    await redis_of(store).hset(matching, mapping={"position": START, "matched": 0})
    await put(62)
    endpoint = await broker_fixture.until_numbers("a", 3)
    await until_matched(store)
    events = [
        event
        for request in endpoint.received
        if request.notification
        for event in request.notification.events
    ]
    assert [event.number for event in events] == [1, 2, 3]
