"""A page of dead letters costs the same whatever their number: it asks the store for about as many as it has,
and looks at a bounded number where few pass its filter.
"""

from collections.abc import Sequence
from typing import Any, cast

from broker.model.change import DEFAULT_TENANT
from broker.model.subscription import SubscriptionId
from broker.store import dead_letters, keys
from broker.store.compression import compress
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetterFilter, DeadLetters
from broker.store.protocol import Command, Store

SUBSCRIPTION = SubscriptionId("ward")
MANY = 3_000
_WITH_COUNT = {"XRANGE", "ZRANGEBYSCORE"}


class CountingStore:
    """A store that remembers how many entries it was asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        for command in commands:
            if command[0] in _WITH_COUNT:
                is_one = command[0] == "XRANGE" and command[2] == command[3]
                self.entries += 1 if is_one else int(command[-1])
        return await self._store.send(commands)


async def fill(store: Store, *, readings: int = 0, inbox: int = 0, events: int = 0) -> None:
    """Writes dead letters as the scripts do."""
    commands: list[Command] = []
    for n in range(1, readings + 1):
        fields = ("reason", "rare" if n == readings else "no-mapping")
        record = ("record", b'{"format":"json","text":"No mapping."}', "content", compress(b"{}"))
        commands.append(("XADD", keys.quarantine(DEFAULT_TENANT), f"{n}-0", *fields, *record))
    refused = keys.refused_inbox(DEFAULT_TENANT)
    commands += [("XADD", refused, f"{n}-0", "reason", "no id") for n in range(1, inbox + 1)]
    shard = store.layout.shard_of(DEFAULT_TENANT, SUBSCRIPTION)
    for n in range(1, events + 1):
        members = keys.dead_events(shard, DEFAULT_TENANT, SUBSCRIPTION)
        commands.append(("ZADD", members, n, f"{n} {n} ValueError"))
    if events:
        commands.append(("HSET", keys.dead_event_index(shard, DEFAULT_TENANT), SUBSCRIPTION, events))
    for start in range(0, len(commands), 1_000):
        await store.send(commands[start : start + 1_000])


async def pages(store: Store, where: DeadLetterFilter, count: int) -> list[tuple[int, int]]:
    """Of each page: how many dead letters it has, and how many entries it asked for."""
    rows = []
    after, is_first = "", True
    while after or is_first:
        counting = CountingStore(store)
        letters = DeadLetters(cast("Store", counting))
        found, after = await letters.page(DEFAULT_TENANT, where, after, count)
        rows.append((len(found), counting.entries))
        is_first = False
    return rows


async def test_a_page_asks_for_about_as_many_entries_as_it_has(store: Store) -> None:
    await fill(store, readings=MANY, inbox=100, events=200)
    for kind, number in (
        (DeadLetterKind.READING, MANY),
        (DeadLetterKind.INBOX, 100),
        (DeadLetterKind.EVENT, 200),
    ):
        rows = await pages(store, DeadLetterFilter(kind), 50)
        assert sum(found for found, _ in rows) == number
        assert {found for found, _ in rows[:-1]} == {50}
        # an event is read with its entry in the outbox; the last page asks once more
        assert max(asked for _, asked in rows) <= 4 * 51, (kind, rows)


async def test_a_rare_reason_is_found_in_bounded_steps(store: Store) -> None:
    await fill(store, readings=MANY)
    rows = await pages(store, DeadLetterFilter(reason="rare"), 50)
    assert [found for found, _ in rows] == [0, 1]
    assert max(asked for _, asked in rows) <= dead_letters.MAX_EXAMINED + 2 * 51


async def test_pages_go_on_behind_the_last_dead_letter_over_all_kinds(store: Store) -> None:
    await fill(store, readings=7, inbox=5, events=6)
    for count in (1, 4, 6, 18, 19):
        rows = await pages(store, DeadLetterFilter(), count)
        assert sum(found for found, _ in rows) == 18
        assert {found for found, _ in rows[:-1]} <= {count}
