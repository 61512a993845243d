"""Scripts of the delivery state machine: claim, commit, extend, and what makes a subscription due."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from broker.model.audit import AuditEntry
from broker.model.subscription import SubscriptionKey
from broker.store import attempt_keys, audit_keys, keys
from broker.store.attempt_records import AttemptLimits, NewAttempt
from broker.store.audit_blocks import encode_entry
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern
from broker.store.records import ClaimRecord, Verdict, decode_claim, encode
from broker.store.scripts.attempts import arguments_of

EventEntry = tuple[bytes, Sequence[bytes]]
"""An outbox entry as the store returns it: id, and fields with names and values in turn."""


class ClaimReply(NamedTuple):
    """A claim and the outbox entries of its events."""

    record: ClaimRecord
    entries: Sequence[EventEntry]


class ClaimedReply(NamedTuple):
    """Store time, when the next subscription is due (0: none is scheduled), and the claims."""

    now_ms: int
    next_due_ms: int
    claims: list[ClaimReply]


class CommittedReply(NamedTuple):
    """Status after the commit, store time, when to look again (0: on a wakeup), and the next claim."""

    status: bytes
    now_ms: int
    next_due_ms: int
    claim: ClaimReply | None


def _claim(reply: Sequence[Any]) -> ClaimReply:
    packed, entries = reply
    return ClaimReply(decode_claim(packed), entries)


class CommitWrites(NamedTuple):
    """What the script writes besides the decision: entries of the audit trail, and attempts."""

    audited: Sequence[AuditEntry] = ()
    attempts: Sequence[NewAttempt] = ()


NO_WRITES = CommitWrites()


async def claim(store: Store, shard: int, *, limit: int, lease_ms: int, max_bytes: int) -> ClaimedReply:
    """Claims up to `limit` due subscriptions. What the reply reports is replicated before it returns."""
    call = ScriptCall(
        "claim",
        [keys.due(shard), keys.registry(shard), keys.shard_counters(shard)],
        [limit, lease_ms, max_bytes, keys.subscriptions(shard), keys.outboxes(shard)],
    )
    now, next_due, *claims = await store.run(call, WriteConcern.REPLICATED)
    return ClaimedReply(int(now), int(float(next_due)), [_claim(reply) for reply in claims])


async def commit(
    store: Store,
    subscription: SubscriptionKey,
    verdict: Verdict,
    writes: CommitWrites,
    *,
    limits: AttemptLimits,
    resume: str,
    lease_ms: int,
    max_bytes: int,
) -> CommittedReply | None:
    """Ends an attempt; None if its claim was lost: then only the attempts are written."""
    shard = store.layout.shard_of(*subscription)
    call = ScriptCall(
        "commit",
        [
            keys.due(shard),
            keys.registry(shard),
            keys.shard_counters(shard),
            keys.subscription(shard, *subscription),
            keys.outbox(shard, *subscription),
            keys.dead_events(shard, *subscription),
            keys.dead_event_index(shard, subscription[0]),
            audit_keys.audit_of_shard(shard, subscription[0]),
            *attempt_keys.of_subscription(shard, subscription),
        ],
        [
            encode(verdict),
            resume,
            lease_ms,
            max_bytes,
            *limits,
            len(writes.attempts),
            *arguments_of(writes.attempts),
            *map(encode_entry, writes.audited),
        ],
    )
    reply = await store.run(call, WriteConcern.REPLICATED)
    if reply[0] == b"stale":
        return None
    status, now, next_due, *claims = reply
    return CommittedReply(status, int(now), int(float(next_due)), _claim(claims[0]) if claims else None)


async def extend_claims(
    store: Store, shard: int, claims: Sequence[tuple[SubscriptionKey, int]], *, lease_ms: int
) -> list[bool]:
    """Renews claims of one shard, each a subscription and a token; whether each is still held."""
    arguments: list[Argument] = [lease_ms]
    for subscription, token in claims:
        arguments += [keys.member(*subscription), token]
    script_keys = [keys.due(shard), *(keys.subscription(shard, *subscription) for subscription, _ in claims)]
    return [bool(is_held) for is_held in await store.run(ScriptCall("extend_claims", script_keys, arguments))]


async def schedule_handshake(store: Store, subscription: SubscriptionKey) -> None:
    """Makes a subscription that waits for its handshake due now, and wakes the dispatchers."""
    await store.run(_due_now(store, "schedule_handshake", subscription))


def _due_now(store: Store, script: str, subscription: SubscriptionKey) -> ScriptCall:
    shard = store.layout.shard_of(*subscription)
    script_keys = [keys.subscription(shard, *subscription), keys.due(shard)]
    return ScriptCall(script, script_keys, [keys.member(*subscription), keys.WAKE, shard])


async def end_backoff(store: Store, subscriptions: Sequence[SubscriptionKey]) -> list[bool]:
    """Makes failed notifications due now, and wakes the dispatchers; for each subscription whether one waited
    for its next attempt.
    """
    calls = [_due_now(store, "end_backoff", subscription) for subscription in subscriptions]
    return [bool(reply) for reply in await store.run_many(calls)]


async def resend_events(
    store: Store,
    subscription: SubscriptionKey,
    revision: str,
    ranges: Sequence[tuple[int, int]],
    *,
    max_bytes: int,
) -> str:
    """Asks for ranges of events to be sent once more, both ends inclusive; accepted, changed or full."""
    shard = store.layout.shard_of(*subscription)
    call = ScriptCall(
        "resend_events",
        [keys.subscription(shard, *subscription), keys.due(shard)],
        [
            keys.member(*subscription),
            revision,
            ",".join(f"{low}-{high}" for low, high in ranges),
            max_bytes,
            keys.WAKE,
            shard,
        ],
    )
    return str((await store.run(call)).decode())
