"""Scripts on leases: who reads which partition, who reads the inbox, and which matchers and processes are
alive.
"""

from collections.abc import Mapping, Sequence

from broker.store import keys
from broker.store.protocol import Argument, ScriptCall, Store


async def acquire_leases(store: Store, names: Sequence[Argument], owner: str, ttl_ms: int) -> list[int]:
    """Takes or renews leases; the fencing token of each, or minus the ms for which another owner's lease
    still runs.
    """
    reply = await store.run(ScriptCall("acquire_leases", [keys.LEASES], [owner, ttl_ms, *names]))
    return [int(token) for token in reply]


async def release_leases(store: Store, names: Sequence[Argument], owner: str) -> None:
    await store.run(ScriptCall("release_leases", [keys.LEASES], [owner, *names]))


async def void_leases(store: Store) -> None:
    """Ends every lease, and the presence of every matcher."""
    await store.run(ScriptCall("void_leases", [keys.LEASES], []))
    await store.send([("DEL", keys.MATCHERS)])


async def void_claims(store: Store, *, lease_ms: int) -> int:
    """Makes the subscriptions of claims under way due now; how many there were."""
    calls = [
        ScriptCall("void_claims", [keys.due(shard)], [lease_ms, keys.subscriptions(shard)])
        for shard in range(store.layout.shards)
    ]
    return sum(await store.run_many(calls))


async def fence_partitions(store: Store, tokens: Mapping[int, int]) -> None:
    """Copies the lease token of each partition next to its stream, where scripts check it."""
    calls = [
        ScriptCall("fence_partition", [keys.matching(partition)], [token])
        for partition, token in tokens.items()
    ]
    await store.run_many(calls)


async def announce_matcher(store: Store, owner: str, ttl_ms: int) -> tuple[int, int]:
    """Records that a matcher is alive (a `ttl_ms` of 0: that it stops); how many are alive, and in how many
    ms the first of the others counts no longer (0: there is none).
    """
    alive, first_end_ms = await store.run(ScriptCall("announce_matcher", [keys.MATCHERS], [owner, ttl_ms]))
    return int(alive), int(first_end_ms)


async def join_processes(
    store: Store, process_id: str, ttl_ms: int, description: bytes
) -> list[tuple[str, bytes]]:
    """Records that a process runs; id and description of each other one that does."""
    reply = await store.run(ScriptCall("join_processes", [keys.PROCESSES], [process_id, ttl_ms, description]))
    return [(other.decode(), text) for other, text in zip(reply[::2], reply[1::2], strict=True)]
