"""Dead letters on a real store: listed by tenant, redriven or discarded once, order kept."""

from typing import Any

import pytest

from broker.model.change import DEFAULT_TENANT, Change, Tenant, VersionKey
from broker.model.outcome import Advance, MarkError
from broker.model.release import Release
from broker.store import keys
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.dead_letter_actions import DeadLetterActions, RedriveResult
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.inbox import Inbox, Refusal
from broker.store.leases import Leases
from broker.store.outbox import Fenced
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.replies import flatten
from broker.store.retention import Limits, Retention
from tests.conformance.dead_letter_fixture import FAILURE, KEY, DeadLetterFixture, numbers_of
from tests.matched import make_dead_letter, unmatched
from tests.stores import counts_of, redis_of

HOUR_MS = 3_600_000
EVERYTHING = DeadLetterFilter()


@pytest.fixture
def letters(store: Store) -> DeadLetters:
    return DeadLetters(store)


@pytest.fixture
def actions(store: Store) -> DeadLetterActions:
    return DeadLetterActions(store)


@pytest.fixture
async def broker_fixture(store: Store) -> DeadLetterFixture:
    broker_fixture = DeadLetterFixture(store)
    await broker_fixture.activate()
    return broker_fixture


async def listed(
    letters: DeadLetters,
    where: DeadLetterFilter = EVERYTHING,
    tenant: Tenant = DEFAULT_TENANT,
    after: str = "",
) -> list[DeadLetter]:
    return [letter async for letter in letters.walk(tenant, where, after)]


class Log:
    """A partition whose matcher fails on changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changes = Changes(store, keep_ms=HOUR_MS)
        self.leases = Leases(store, "me")

    async def put(self, resource_id: str, tenant: Tenant = DEFAULT_TENANT) -> int:
        proposal = Proposal(tenant, "put", "Observation", resource_id, Release.R4, b"}}")
        await self.changes.append([proposal])
        return self.store.layout.partition_of(tenant, resource_id)

    async def create_dead_letter(self, resource_id: str, tenant: Tenant = DEFAULT_TENANT) -> int:
        """Puts a resource and makes the change a dead letter; its partition."""
        partition = await self.put(resource_id, tenant)
        tokens = await self.leases.acquire([partition], 60_000)
        for change in await self.read(partition):
            await make_dead_letter(self.store, change, tokens[partition], "RecursionError: too deep")
        return partition

    async def read(self, partition: int) -> list[Change]:
        return await unmatched(self.store, partition)


@pytest.fixture
async def log(store: Store) -> Log:
    return Log(store)


async def refuse(store: Store, *entries: dict[str, str]) -> None:
    """Writes entries to the inbox and refuses them, as the worker of the inbox does."""
    inbox = Inbox(store)
    reader = inbox.reader(timeout_s=10)
    await inbox.prepare()
    for fields in entries:
        await store.send([("XADD", keys.INBOX, "*", *flatten(fields))])
    read = await inbox.read(reader, ">", count=len(entries), block_ms=None)
    for _ in range(2):  # the reply may be lost
        await inbox.finish([], [Refusal(entry, "no id", b"{}") for entry in read])
    await reader.close()


async def waiting(store: Store) -> dict[str, int]:
    counts = await counts_of(store)
    of_readings = counts.dead_letters[DeadLetterKind.READING].waiting
    assert of_readings == 0, "tests of quarantined readings are in test_quarantine.py"
    kinds = counts.dead_letters.items()
    return {kind: letters.waiting for kind, letters in kinds if kind is not DeadLetterKind.READING}


async def test_a_change_becomes_a_dead_letter_once_and_is_not_read_any_more(
    log: Log, letters: DeadLetters
) -> None:
    partition = await log.put("a")
    tokens = await log.leases.acquire([partition], 60_000)
    (change,) = await log.read(partition)
    for _ in range(2):
        await make_dead_letter(log.store, change, tokens[partition], "too deep")
    assert await log.read(partition) == []
    (letter,) = await listed(letters)
    assert (letter.kind, letter.reason, letter.focus) == (
        DeadLetterKind.CHANGE,
        "too deep",
        VersionKey(DEFAULT_TENANT, "Observation", "a", 1),
    )


async def test_a_matcher_that_lost_its_partition_creates_no_dead_letter(
    log: Log, letters: DeadLetters
) -> None:
    partition = await log.put("a")
    tokens = await log.leases.acquire([partition], 1)
    (change,) = await log.read(partition)
    await log.leases.release([partition])
    await Leases(log.store, "another").acquire([partition], 60_000)
    with pytest.raises(Fenced):
        await make_dead_letter(log.store, change, tokens[partition], "too deep")
    assert await listed(letters) == []
    assert len(await log.read(partition)) == 1, "it is the other's"


async def test_a_redriven_change_is_logged_again_with_its_own_time_and_version(
    log: Log, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    partition = await log.create_dead_letter("a")
    await log.put("a")  # superseded meanwhile
    (later,) = await log.read(partition)
    (letter,) = await listed(letters)
    for expected in (RedriveResult.ACCEPTED, RedriveResult.ABSENT):
        assert await actions.redrive([letter]) == {letter.id: expected}
    _, again = await log.read(partition)
    assert again.id > later.id
    assert again.current.key.version == 1
    assert again.current.resource is not None
    assert again.current.at_ms <= later.current.at_ms, "the time it was accepted"
    assert await listed(letters) == []
    newest = [change.current.key.version async for change in ChangeLog(log.store).newest(DEFAULT_TENANT, 10)]
    assert newest == [2, 1], "it happened once"


async def test_a_change_whose_version_is_not_stored_can_only_be_discarded(
    log: Log, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    partition = await log.create_dead_letter("a")
    (letter,) = await listed(letters)
    await redis_of(log.store).delete(keys.resource(partition, DEFAULT_TENANT, "Observation", "a"))
    assert await actions.redrive([letter]) == {letter.id: RedriveResult.UNKEPT}
    (kept,) = await listed(letters)
    assert not kept.is_kept
    assert [await actions.discard([kept]), await actions.discard([kept])] == [1, 0]
    assert await listed(letters) == []


async def test_dead_letters_are_listed_in_pages_and_only_to_their_tenant(
    log: Log, letters: DeadLetters, actions: DeadLetterActions, broker_fixture: DeadLetterFixture
) -> None:
    other = Tenant("other")
    for n in range(6):
        await log.create_dead_letter(f"a{n}")
    await log.create_dead_letter("theirs", other)
    await broker_fixture.append(1, 2, 3)
    await broker_fixture.create_dead_letters(await broker_fixture.take(), 1, 3)
    await refuse(log.store, {"resource": "{}"}, {"resource": "{}", "tenant": other})
    mine = await listed(letters)
    assert [letter.kind for letter in mine] == [DeadLetterKind.CHANGE] * 6 + [DeadLetterKind.EVENT] * 2 + [
        DeadLetterKind.INBOX
    ]
    assert mine[-1].reason == "no id"
    assert [letter.kind for letter in await listed(letters, tenant=other)] == [
        DeadLetterKind.CHANGE,
        DeadLetterKind.INBOX,
    ]
    for n, letter in enumerate(mine):
        assert await listed(letters, after=letter.id) == mine[n + 1 :]
        assert await letters.get(DEFAULT_TENANT, letter.id) == letter
        of_other = await letters.get(other, letter.id)
        assert of_other is None or of_other.tenant == other, "ids are unique within a tenant"
    assert await listed(letters, DeadLetterFilter(DeadLetterKind.EVENT)) == mine[6:8]
    assert await listed(letters, DeadLetterFilter(subscription=KEY[1])) == mine[6:8]
    assert await waiting(log.store) == {"change": 7, "event": 2, "inbox": 2}
    assert await actions.discard(mine) == len(mine)
    assert await listed(letters) == []
    assert len(await listed(letters, tenant=other)) == 2
    assert await waiting(log.store) == {"change": 1, "event": 0, "inbox": 1}


async def test_a_redriven_event_is_sent_before_waiting_ones_and_is_a_dead_letter_until_delivered(
    broker_fixture: DeadLetterFixture, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    await broker_fixture.append(1, 2, 3)
    await broker_fixture.deliver(await broker_fixture.create_dead_letters(await broker_fixture.take(), 2))
    (letter,) = await listed(letters)
    for _ in range(2):
        assert await actions.redrive([letter]) == {letter.id: RedriveResult.ACCEPTED}
    assert [letter.is_waiting for letter in await listed(letters)] == [True]
    await broker_fixture.append(4)
    assert await broker_fixture.deliver(await broker_fixture.take()) == [[2], [4]], (
        "requested twice, sent once"
    )
    assert await listed(letters) == []
    assert (await broker_fixture.record()).dead_letters == 0
    assert await actions.redrive([letter]) == {letter.id: RedriveResult.ABSENT}


async def test_a_redriven_event_after_the_cursor_is_delivered_in_its_turn(
    broker_fixture: DeadLetterFixture, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    await broker_fixture.append(1, 2, 3, 4)
    following = await broker_fixture.create_dead_letters(await broker_fixture.take(), 2, 3)
    assert following is not None
    assert numbers_of(following) == [1]
    (letter, other) = await listed(letters)
    assert (await actions.redrive([letter])) == {letter.id: RedriveResult.ACCEPTED}
    assert await listed(letters) == [other]
    assert await broker_fixture.deliver(following) == [[1], [2], [4]]


async def test_a_redriven_event_that_still_fails_is_a_dead_letter_again_and_the_others_are_sent(
    broker_fixture: DeadLetterFixture, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    await broker_fixture.append(1, 2, 3)
    assert await broker_fixture.create_dead_letters(await broker_fixture.take(), 1, 2, 3) is None
    await actions.redrive(await listed(letters))
    claim = await broker_fixture.take()
    assert (numbers_of(claim), claim.is_repeat) == ([1, 2, 3], True)
    assert await broker_fixture.deliver(await broker_fixture.create_dead_letters(claim, 2)) == [[1], [3]]
    assert [(letter.number, letter.is_waiting) for letter in await listed(letters)] == [(2, False)]


async def test_an_event_is_not_redriven_while_its_subscription_is_not_active(
    broker_fixture: DeadLetterFixture, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    await broker_fixture.append(1, 2)
    following = await broker_fixture.create_dead_letters(await broker_fixture.take(), 1)
    assert following is not None
    await broker_fixture.schedule.commit(following, MarkError(FAILURE), take_next=False)
    (letter,) = await listed(letters)
    assert await actions.redrive([letter]) == {letter.id: RedriveResult.INACTIVE}
    assert await listed(letters) == [letter]


async def test_an_event_trimmed_from_its_outbox_can_only_be_discarded(
    store: Store, broker_fixture: DeadLetterFixture, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    await broker_fixture.append(1, 2)
    await broker_fixture.deliver(await broker_fixture.create_dead_letters(await broker_fixture.take(), 1))
    await Retention(store, Limits(keep_ms=0)).sweep()
    (letter,) = await listed(letters)
    assert not letter.is_kept
    assert await actions.redrive([letter]) == {letter.id: RedriveResult.UNKEPT}
    assert await actions.discard([letter]) == 1


async def test_a_discarded_event_is_not_sent_although_its_redrive_was_requested(
    broker_fixture: DeadLetterFixture, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    await broker_fixture.append(1, 2, 3)
    assert await broker_fixture.create_dead_letters(await broker_fixture.take(), 1, 2, 3) is None
    every = await listed(letters)
    await actions.redrive(every)
    assert await actions.discard([every[1]]) == 1
    assert await broker_fixture.deliver(await broker_fixture.take()) == [[1], [3]]
    assert await listed(letters) == []


async def test_a_resend_that_includes_a_dead_letter_delivers_it(
    broker_fixture: DeadLetterFixture, letters: DeadLetters
) -> None:
    await broker_fixture.append(1, 2)
    await broker_fixture.deliver(await broker_fixture.create_dead_letters(await broker_fixture.take(), 1))
    record = await broker_fixture.record()
    await broker_fixture.schedule.resend(*KEY, record.revision, [(1, 2)])
    committed = await broker_fixture.schedule.commit(await broker_fixture.take(), Advance(), take_next=True)
    assert committed.next_claim is None
    assert await listed(letters) == []


async def test_a_redriven_inbox_entry_is_unchanged_and_has_an_idempotency_key(
    store: Store, letters: DeadLetters, actions: DeadLetterActions
) -> None:
    fields = {"resource": "{}", "release": "r5"}
    await refuse(store, fields, fields | {"key": "mine"})
    found = await listed(letters)
    await actions.redrive(found)
    assert await actions.redrive(found[:1]) == {found[0].id: RedriveResult.ABSENT}
    there: Any = await redis_of(store).xrange(keys.INBOX)
    entries = [entry for _, entry in there]
    assert {frozenset(entry) for entry in entries} == {frozenset({b"resource", b"release", b"key"})}
    key = f"dead-letter-{found[0].id.removeprefix('inbox-')}".encode()
    assert [entry[b"key"] for entry in entries] == [key, b"mine"], "so the intake accepts it once"
    assert await listed(letters) == []
