"""Claims: which subscriptions are due, who delivers them, and what an attempt came to. Dispatchers call it.

A claim is a lease with a fencing token. A dispatcher that lost its claim can't commit, and a dispatcher that
holds it sends one notification at a time, so a subscription never has two requests in flight.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from broker.model.audit import AuditEntry
from broker.model.change import Tenant
from broker.model.notification import ErrorReport, Event, NotificationType
from broker.model.outcome import (
    Advance,
    AdvanceTo,
    Decision,
    Defer,
    MarkError,
    MoveToDeadLetters,
    Retry,
    TurnOff,
    Withhold,
)
from broker.model.subscription import SubscriptionId, SubscriptionKey, SubscriptionStatus
from broker.store import keys
from broker.store.bodies import UNSEALED, Bodies
from broker.store.dead_events import DeadEventTexts
from broker.store.protocol import Store
from broker.store.records import DecisionWord, Verdict, event_of
from broker.store.scripts import delivery
from broker.store.scripts.delivery import ClaimReply

_TYPES = {notification_type.value: notification_type for notification_type in NotificationType}
_RESEND = "resend"
_STATUSES = {status.encode(): status for status in SubscriptionStatus}
Resume = Literal["backlog", "newest"]
MAX_RANGES_BYTES = 65_536
"""How many ranges of events may wait to be sent once more, as text."""


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One notification to send now. Everything in it is pinned: a later attempt of it is identical (R-209).

    `count` is the highest event number up to and including this notification; `since_ms` the moment of the
    first failed attempt (0: none); `now_ms` store time. `revision` names the document, because a subscription
    may be deleted and created again with the same id and versions; `secrets_id` names its signing
    secrets ('' for none). `is_repeat`: its events were delivered
    before and are sent once more on request (R-367). `build_failures` counts the failed attempts in which the
    notification could not even be built. `is_takeover`: the claim before it ended without a commit, so its
    dispatcher may have sent the notification.
    """

    tenant: Tenant
    id: SubscriptionId
    shard: int
    token: int
    type: NotificationType
    status: SubscriptionStatus
    count: int
    at_ms: int
    attempts: int
    since_ms: int
    now_ms: int
    events: tuple[Event, ...]
    revision: str
    is_repeat: bool = False
    secrets_id: str = ""
    build_failures: int = 0
    is_takeover: bool = False

    def with_events(self, events: tuple[Event, ...]) -> "Claim":
        """The claim with its events as they are sent."""
        return self if events == self.events else msgspec.structs.replace(self, events=events)


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
    """The result of a commit. `is_stale`: the claim was lost and nothing was written."""

    is_stale: bool
    status: SubscriptionStatus | None = None
    next_claim: Claim | None = None
    next_in_ms: int | None = None


class Schedule:
    """Claims, commits, and the wakeup channel.

    `max_bytes` of resources may be in one notification; `resume` says what a subscription gets that becomes
    active again. `bodies` packs what receivers say about events that they refuse.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_ms: int,
        max_bytes: int,
        resume: Resume,
        bodies: Bodies = UNSEALED,
    ) -> None:
        self._store = store
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
        claims = tuple(_claim_of(shard, claim) for claim in reply.claims)
        return Claimed(claims, _wait(reply.now_ms, reply.next_due_ms))

    async def commit(
        self,
        claim: Claim,
        decision: Decision | None,
        *,
        take_next: bool,
        outcome: str = "",
        audited: Sequence[AuditEntry] = (),
    ) -> Committed:
        """Applies the decision (None: releases the claim as it is) and, if asked, claims the next
        notification.

        `outcome` is the word under which the attempt is counted; an empty one is not counted.
        `audited` are entries of the audit trail, which are written if the claim is still held.
        """
        dead_letters = await self._dead_letters(claim, decision)
        verdict = _verdict(claim, decision, dead_letters, takes_next=take_next, outcome=outcome)
        reply = await delivery.commit(
            self._store,
            (claim.tenant, claim.id),
            verdict,
            audited,
            resume=self._resume,
            lease_ms=self._lease_ms,
            max_bytes=self._max_bytes,
        )
        if reply is None:
            return Committed(is_stale=True)
        return Committed(
            is_stale=False,
            status=_STATUSES[reply.status],
            next_claim=_claim_of(claim.shard, reply.claim) if reply.claim else None,
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


def _verdict(
    claim: Claim,
    decision: Decision | None,
    dead_letters: tuple[tuple[int, str], ...],
    *,
    takes_next: bool,
    outcome: str,
) -> Verdict:
    word: DecisionWord = "release"
    delay_ms, is_build_failure, error = 0, False, ErrorReport(None, "")
    withheld: tuple[int, ...] = ()
    events, last_event = len(claim.events), 0
    match decision:
        case None:
            pass
        case Advance():
            word = "advance"
        case AdvanceTo(last=last_event, delivered=events, error=error, delay_ms=delay_ms):
            word = "advance"
        case Defer(delay_ms=delay_ms):
            word = "defer"
        case Retry(delay_ms=delay_ms, error=error, is_build_failure=is_build_failure):
            word = "retry"
        case MoveToDeadLetters(error=error):
            word = "dead-letter"
        case Withhold(events=withheld):
            word = "withhold"
        case MarkError(error=error):
            word = "error"
        case TurnOff(error=error):
            word = "off"
    return Verdict(
        member=keys.member(claim.tenant, claim.id),
        token=claim.token,
        decision=word,
        takes_next=takes_next,
        type=claim.type,
        events=events,
        first_event=claim.events[0].number if claim.events else 0,
        outcome=outcome,
        delay_ms=delay_ms,
        error_code=error.code or "",
        error_text=error.text,
        is_build_failure=is_build_failure,
        dead_letters=dead_letters,
        withheld=withheld,
        last_event=last_event,
    )


def _wait(now_ms: int, at_ms: int) -> int | None:
    return None if at_ms == 0 else max(0, at_ms - now_ms)


def _claim_of(shard: int, reply: ClaimReply) -> Claim:
    record = reply.record
    tenant, subscription_id = keys.subscription_key(record.member)
    is_repeat = record.type == _RESEND
    return Claim(
        tenant=tenant,
        id=subscription_id,
        shard=shard,
        token=record.token,
        type=NotificationType.EVENT_NOTIFICATION if is_repeat else _TYPES[record.type],
        status=record.status,
        count=record.count,
        at_ms=record.at,
        attempts=record.attempts,
        since_ms=record.failing_since,
        now_ms=record.now,
        events=tuple(event_of(tenant, entry_id, flat) for entry_id, flat in reply.entries),
        revision=record.revision,
        is_repeat=is_repeat,
        secrets_id=record.secrets_id,
        build_failures=record.build_failures,
        is_takeover=record.is_takeover,
    )
