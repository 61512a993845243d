"""Plays the matcher in a test of the store: reads changes that are not matched, and records that they are."""

from collections.abc import Sequence

from broker.model.change import Change
from broker.store import keys
from broker.store.changes import Changes
from broker.store.matched_positions import MatchedPositions
from broker.store.protocol import Store
from broker.store.scripts.matching import Step


async def unmatched(store: Store, partition: int, *, count: int = 1_000) -> list[Change]:
    """The first changes of a partition that are not matched."""
    position = (await MatchedPositions(store).load([partition]))[partition]
    rows = await store.read_streams({keys.changes(partition): position.encode()}, count=count)
    entries = [(partition, entry_id.decode(), fields) for _, read in rows for entry_id, fields in read]
    return (await Changes(store, keep_ms=1).load(entries)).changes


async def _step_to(store: Store, change: Change, token: int) -> Step:
    position = (await MatchedPositions(store).load([change.partition]))[change.partition]
    ids = [other.id for other in await unmatched(store, change.partition)]
    count = ids.index(change.id) + 1 if change.id in ids else 0
    return Step(change.partition, token, position, change.id, count)


async def mark_matched(store: Store, changes: Sequence[Change], token: int = 0) -> None:
    """Records that the changes of a partition are matched, with those before them."""
    if changes:
        await MatchedPositions(store).advance([await _step_to(store, changes[-1], token)])


async def make_dead_letter(store: Store, change: Change, token: int, reason: str) -> None:
    """Makes a change a dead letter. Raises `Fenced` if the token is not that of the newest lease."""
    step = await _step_to(store, change, token)
    await MatchedPositions(store).move_to_dead_letters(change, step, reason)
