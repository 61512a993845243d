"""Claims: which subscriptions are due, who delivers them, and what an attempt came to. Dispatchers call it.

A claim is a lease with a fencing token. A dispatcher that lost its claim can't commit, and a dispatcher that
holds it sends one notification at a time, so a subscription never has two requests in flight.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

from broker.model.change import Tenant
from broker.model.outcome import (
    AdvanceTo,
    Decision,
    MoveToDeadLetters,
)
from broker.model.subscription import SubscriptionId, SubscriptionKey, SubscriptionStatus
from broker.store import keys
from broker.store.attempt_records import DEFAULT_LIMITS, AttemptLimits
from broker.store.bodies import UNSEALED, Bodies
from broker.store.claims import Claim, claim_of, verdict_of
from broker.store.dead_events import DeadEventTexts
from broker.store.protocol import Store
from broker.store.scripts import delivery
from broker.store.scripts.delivery import NO_WRITES, CommitWrites

_STATUSES = {status.encode(): status for status in SubscriptionStatus}
Resume = Literal["backlog", "newest"]
MAX_RANGES_BYTES = 65_536
"""How many ranges of events may wait to be sent once more, as text."""


class ResendResult(StrEnum):
    """What became of a request to send events once more."""

    ACCEPTED = "accepted"
    CHANGED = "changed"  # the subscription is another document by now, or not active
    FULL = "full"  # too many events wait to be sent once more


class Claimed(NamedTuple):
    """Claims of a shard, and how long until the next subscription is due (None: none is scheduled)."""

    claims: tuple[Claim, ...]
    next_in_ms: int | None


class Wakeup(NamedTuple):
    """A shard with something due, if any; `readers` are subscriptions to look at: pull subscriptions with new
    events, and any whose document or status changed.
    """

    shard: int | None
    readers: frozenset[SubscriptionKey]


class Committed(NamedTuple):
    """The result of a commit. `is_stale`: the claim was lost, and nothing was written but its attempts."""

    is_stale: bool
    status: SubscriptionStatus | None = None
    next_claim: Claim | None = None
    next_in_ms: int | None = None


class Schedule:
    """Claims, commits, and the wakeup channel.

    `max_bytes` of resources may be in one notification; `resume` says what a subscription gets that becomes
    active again. `bodies` packs what receivers say about events that they refuse. `attempts` says how many
    of a subscription are kept.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_ms: int,
        max_bytes: int,
        resume: Resume,
        bodies: Bodies = UNSEALED,
        attempts: AttemptLimits = DEFAULT_LIMITS,
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._dead_events = DeadEventTexts(bodies)
        self._lease_ms = lease_ms
        self._max_bytes = max_bytes
        self._resume = resume

    @property
    def shards(self) -> range:
        return range(self._store.layout.shards)

    async def claim(self, shard: int, limit: int) -> Claimed:
        """Claims up to `limit` due subscriptions of a shard."""
        reply = await delivery.claim(
            self._store, shard, limit=limit, lease_ms=self._lease_ms, max_bytes=self._max_bytes
        )
        claims = tuple(claim_of(shard, claim) for claim in reply.claims)
        return Claimed(claims, _wait(reply.now_ms, reply.next_due_ms))

    async def commit(
        self,
        claim: Claim,
        decision: Decision | None,
        *,
        take_next: bool,
        outcome: str = "",
        writes: CommitWrites = NO_WRITES,
    ) -> Committed:
        """Applies the decision (None: releases the claim as it is) and, if asked, claims the next
        notification.

        `outcome` is the word under which the attempt is counted; an empty one is not counted. The attempts
        in `writes` are in their log also where the claim was lost, the entries of the audit trail are not.
        """
        dead_letters = await self._dead_letters(claim, decision)
        verdict = verdict_of(claim, decision, dead_letters, takes_next=take_next, outcome=outcome)
        reply = await delivery.commit(
            self._store,
            (claim.tenant, claim.id),
            verdict,
            writes,
            limits=self._attempts,
            resume=self._resume,
            lease_ms=self._lease_ms,
            max_bytes=self._max_bytes,
        )
        if reply is None:
            return Committed(is_stale=True)
        return Committed(
            is_stale=False,
            status=_STATUSES[reply.status],
            next_claim=claim_of(claim.shard, reply.claim) if reply.claim else None,
            next_in_ms=_wait(reply.now_ms, reply.next_due_ms),
        )

    async def _dead_letters(self, claim: Claim, decision: Decision | None) -> tuple[tuple[int, str], ...]:
        """The events that become dead letters, each with the text of its member."""
        match decision:
            case AdvanceTo(dead_letters=events) | MoveToDeadLetters(events=events):
                texts = await self._dead_events.pack((claim.tenant, claim.id), events)
                return tuple((event.number, text) for event, text in zip(events, texts, strict=True))
            case _:
                return ()

    async def extend(self, claims: Sequence[Claim]) -> list[Claim]:
        """Renews the leases of attempts under way; returns the claims that were lost."""
        by_shard: dict[int, list[Claim]] = {}
        for claim in claims:
            by_shard.setdefault(claim.shard, []).append(claim)
        replies = await asyncio.gather(
            *(
                delivery.extend_claims(
                    self._store,
                    shard,
                    [((claim.tenant, claim.id), claim.token) for claim in in_shard],
                    lease_ms=self._lease_ms,
                )
                for shard, in_shard in by_shard.items()
            )
        )
        return [
            claim
            for in_shard, held in zip(by_shard.values(), replies, strict=True)
            for claim, is_held in zip(in_shard, held, strict=True)
            if not is_held
        ]

    async def next_attempt_ms(self, tenant: Tenant, subscription_id: SubscriptionId) -> int | None:
        """The moment at which a failed notification is sent again; None if none waits for that."""
        return (await self.next_attempts([(tenant, subscription_id)]))[0]

    async def next_attempts(self, subscriptions: Sequence[SubscriptionKey]) -> list[int | None]:
        """`next_attempt_ms` of each; one round trip."""
        placed = [(self._store.layout.shard_of(*key), key) for key in subscriptions]
        states = [("HGET", keys.subscription(shard, *key), "claim_state") for shard, key in placed]
        dues = [("ZSCORE", keys.due(shard), keys.member(*key)) for shard, key in placed]
        replies = await self._store.send([*states, *dues]) if placed else []
        pairs = zip(replies[: len(placed)], replies[len(placed) :], strict=True)
        return [int(due) if state == b"backoff" and due is not None else None for state, due in pairs]

    async def wake(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        """Makes a subscription that waits for its handshake due now, and wakes the dispatchers."""
        await delivery.schedule_handshake(self._store, (tenant, subscription_id))

    async def end_backoff(self, subscriptions: Sequence[SubscriptionKey]) -> None:
        """Makes those due now that wait for the next attempt after a failure, and wakes the dispatchers."""
        await delivery.end_backoff(self._store, subscriptions)

    async def attempt_now(self, tenant: Tenant, subscription_id: SubscriptionId) -> bool:
        """Makes a failed notification due now, and wakes the dispatchers; False where none waits for its next
        attempt.
        """
        [has_waited] = await delivery.end_backoff(self._store, [(tenant, subscription_id)])
        return has_waited

    async def resend(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        revision: str,
        ranges: Sequence[tuple[int, int]],
    ) -> ResendResult:
        """Has delivered events sent once more, by ranges of numbers, both ends inclusive.

        They are sent after the notification under way and before events that wait; the cursor does not move.
        A new registration, an error and the end of the subscription cancel what was not sent yet.
        """
        key: SubscriptionKey = (tenant, subscription_id)
        result = await delivery.resend_events(self._store, key, revision, ranges, max_bytes=MAX_RANGES_BYTES)
        return ResendResult(result)

    async def wakeups(self) -> AsyncIterator[Wakeup | None]:
        """What became due or changed; None after each (re)connection: look at everything."""
        async for message in self._store.subscribe(keys.WAKE):
            if message is None:
                yield None
            else:
                shard, *readers = message.split()
                yield Wakeup(
                    None if shard == "-" else int(shard),
                    frozenset(keys.subscription_key(reader) for reader in readers),
                )


def _wait(now_ms: int, at_ms: int) -> int | None:
    return None if at_ms == 0 else max(0, at_ms - now_ms)
