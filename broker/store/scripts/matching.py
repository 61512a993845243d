"""Scripts on the position up to which a partition is matched."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.model.change import VersionKey
from broker.store import keys
from broker.store.protocol import ScriptCall, Store

LOST_PARTITION = -1
OTHER_POSITION = 0


class Step(NamedTuple):
    """Moves the position of a partition over `changes` changes, from `position` to the last of them.

    `token` is the fencing token of the partition's lease.
    """

    partition: int
    token: int
    position: str
    last: str
    changes: int


async def advance(store: Store, steps: Sequence[Step]) -> list[int]:
    """Moves positions; for each step 1, `LOST_PARTITION` or `OTHER_POSITION`."""
    calls = [
        ScriptCall(
            "advance_position",
            [keys.matching(step.partition)],
            [step.token, step.position, step.last, step.changes],
        )
        for step in steps
    ]
    return [int(reply) for reply in await store.run_many(calls)] if calls else []


async def move_to_dead_letters(store: Store, focus: VersionKey, step: Step, reason: str) -> int:
    """Makes the last change of the step a dead letter; the answer as of `advance`."""
    partition, member = step.partition, keys.resource_member(focus.tenant, focus.type, focus.id)
    call = ScriptCall(
        "move_change_to_dead_letters",
        [
            keys.matching(partition),
            keys.changes(partition),
            keys.dead_changes(partition, focus.tenant),
            keys.dead_change_tenants(partition),
            keys.partition_counters(partition),
            keys.held_versions(partition),
        ],
        [step.token, step.position, step.last, step.changes, focus.tenant, reason, member, focus.version],
    )
    return int(await store.run(call))
