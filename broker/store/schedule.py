"""Who is due, who holds the claim, and what an attempt came to: the delivery state machine's door to its scripts.

A claim is a lease with a fencing token. Whoever lost it can't commit; whoever holds it sends one notification at a time, so a
subscription never has two requests in flight.
"""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any, Literal, NamedTuple, cast

import msgspec

from broker.model.change import Tenant
from broker.model.notification import Event, NotificationType
from broker.model.outcome import (
    Advance,
    Decision,
    Defer,
    MarkError,
    MoveToDeadLetters,
    Retry,
    TurnOff,
    UnrenderableEvent,
)
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store import keys
from broker.store.outbox import event_of
from broker.store.protocol import Argument, ScriptCall, Store, WriteConcern

_TYPES = {one.encode(): one for one in NotificationType}
_STATUSES = {one.encode(): one for one in SubscriptionStatus}
Resume = Literal["backlog", "newest"]
MAX_RANGES_BYTES = 65_536
"""How much may wait to be sent again, as text."""


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One notification to send now. Everything in it is pinned: a later attempt of it is identical (R-209).

    `count` is the highest event number up to and including this notification; `since_ms` the time of the first failed attempt
    (0: none); `now_ms` Redis time. `revision` names the document: a namesake of a deleted subscription has the same versions. `is_repeat`: its
    events were delivered before and are sent because they were asked for again (R-367). `unbuilt` counts the failed attempts
    in which it could not even be built.
    """

    tenant: Tenant
    id: SubscriptionId
    shard: int
    token: int
    type: NotificationType
    subscription_version: int
    status: SubscriptionStatus
    count: int
    at_ms: int
    attempts: int
    since_ms: int
    now_ms: int
    events: tuple[Event, ...]
    revision: str
    is_repeat: bool = False
    unbuilt: int = 0


class ResendResult(StrEnum):
    """What became of the wish to have events sent again."""

    ACCEPTED = "accepted"
    CHANGED = "changed"
    FULL = "full"


class Claimed(NamedTuple):
    """What one look at a shard gave: claims, and how long until the next subscription is due (None: nothing scheduled)."""

    claims: tuple[Claim, ...]
    next_in_ms: int | None


class Committed(NamedTuple):
    """The answer to a commit. `is_stale`: the claim was lost and nothing was written."""

    is_stale: bool
    status: SubscriptionStatus | None = None
    next_claim: Claim | None = None
    next_in_ms: int | None = None


class Schedule:
    """Claims, commits, and the wake-up channel."""

    def __init__(self, store: Store, *, lease_ms: int, max_bytes: int, resume: Resume) -> None:
        self._store = store
        self._lease_ms = lease_ms
        self._max_bytes = max_bytes
        self._resume = resume

    @property
    def shards(self) -> range:
        return range(self._store.layout.shards)

    async def claim(self, shard: int, limit: int) -> Claimed:
        """Takes up to `limit` due subscriptions of a shard."""
        prefixes = f"{keys.shard_tag(shard)}:sub:", f"{keys.shard_tag(shard)}:outbox:"
        arguments: list[Argument] = [limit, self._lease_ms, self._max_bytes, *prefixes]
        call = ScriptCall("claim", [keys.due(shard), keys.registry(shard)], arguments)
        now, following, *rows = await self._store.run(call, WriteConcern.REPLICATED)
        return Claimed(tuple(_claim_of(shard, row) for row in rows), _wait(int(now), int(float(following))))

    async def commit(self, claim: Claim, decision: Decision | None, *, take_next: bool) -> Committed:
        """Carries out the decision (None: give the claim back untouched) and, if asked, takes the next notification."""
        verb, delay_ms, code, text = "release", 0, "", ""
        is_unbuilt, unrenderable = False, tuple[UnrenderableEvent, ...]()
        match decision:
            case None:
                pass
            case Advance():
                verb = "advance"
            case Retry(delay_ms=delay_ms, error=error, is_build_failure=is_unbuilt):
                verb, code, text = "retry", error.code or "", error.text
            case Defer(delay_ms=delay_ms):
                verb = "defer"
            case MoveToDeadLetters(error=error, events=unrenderable):
                verb, code, text = "aside", error.code or "", error.text
            case MarkError(error=error):
                verb, code, text = "error", error.code or "", error.text
            case TurnOff(error=error):
                verb, code, text = "off", error.code or "", error.text
        shard, tenant, one = claim.shard, claim.tenant, claim.id
        arguments: list[Argument] = [
            keys.member(tenant, one),
            claim.token,
            verb,
            delay_ms,
            code,
            text,
            self._resume,
            int(take_next),
            self._lease_ms,
            self._max_bytes,
            int(is_unbuilt),
            claim.events[0].number if claim.events else 0,
            *(argument for event in unrenderable for argument in (event.number, event.reason)),
        ]
        script_keys = [
            keys.due(shard),
            keys.registry(shard),
            keys.subscription(shard, tenant, one),
            keys.outbox(shard, tenant, one),
            keys.dead(shard, tenant, one),
            keys.dead_index(shard),
        ]
        answer = await self._store.run(ScriptCall("commit", script_keys, arguments), WriteConcern.REPLICATED)
        if answer[0] == b"stale":
            return Committed(is_stale=True)
        status, now, following, *rows = answer
        return Committed(
            is_stale=False,
            status=_STATUSES[status],
            next_claim=_claim_of(shard, rows[0]) if rows else None,
            next_in_ms=_wait(int(now), int(following)),
        )

    async def extend(self, claims: Sequence[Claim]) -> list[Claim]:
        """Renews the leases of attempts under way; answers those that were lost."""
        by_shard: dict[int, list[Claim]] = {}
        for claim in claims:
            by_shard.setdefault(claim.shard, []).append(claim)
        calls = []
        for shard, some in by_shard.items():
            arguments: list[Argument] = [self._lease_ms]
            for claim in some:
                arguments += [keys.member(claim.tenant, claim.id), claim.token]
            script_keys = [keys.due(shard), *(keys.subscription(shard, c.tenant, c.id) for c in some)]
            calls.append(ScriptCall("extend", script_keys, arguments))
        answers = await self._store.run_many(calls)
        return [
            claim
            for some, kept in zip(by_shard.values(), answers, strict=True)
            for claim, is_kept in zip(some, kept, strict=True)
            if not is_kept
        ]

    async def next_attempt_ms(self, tenant: Tenant, subscription_id: SubscriptionId) -> int | None:
        """When a failed notification is tried again; None where none waits for that."""
        shard = self._store.layout.shard_of(tenant, subscription_id)
        state, due = await self._store.send(
            [
                ("HGET", keys.subscription(shard, tenant, subscription_id), "busy"),
                ("ZSCORE", keys.due(shard), keys.member(tenant, subscription_id)),
            ]
        )
        return int(float(due)) if state == b"backoff" and due is not None else None

    async def wake(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        """Makes a subscription that waits for its handshake due now and tells the dispatchers."""
        shard = self._store.layout.shard_of(tenant, subscription_id)
        await self._store.run(
            ScriptCall(
                "wake",
                [keys.subscription(shard, tenant, subscription_id), keys.due(shard)],
                [keys.member(tenant, subscription_id), keys.WAKE, shard],
            )
        )

    async def resend(
        self,
        tenant: Tenant,
        subscription_id: SubscriptionId,
        revision: str,
        ranges: Sequence[tuple[int, int]],
    ) -> ResendResult:
        """Has delivered events sent once more, by ranges of numbers, both ends inclusive.

        They go out before events that wait, after the notification under way; the cursor doesn't move. A new registration, an
        error and the end of the subscription drop what was not sent yet.
        """
        shard = self._store.layout.shard_of(tenant, subscription_id)
        script_keys = [keys.subscription(shard, tenant, subscription_id), keys.due(shard)]
        arguments: list[Argument] = [
            keys.member(tenant, subscription_id),
            revision,
            ",".join(f"{low}-{high}" for low, high in ranges),
            MAX_RANGES_BYTES,
            keys.WAKE,
            shard,
        ]
        answer = await self._store.run(ScriptCall("resend", script_keys, arguments))
        return ResendResult(cast("bytes", answer).decode())

    async def wakeups(self) -> AsyncIterator[int | None]:
        """Shards in which something became due; None after each (re)connection: look at all of them."""
        async for message in self._store.subscribe(keys.WAKE):
            yield None if message is None else int(message)


def _wait(now_ms: int, at_ms: int) -> int | None:
    return None if at_ms == 0 else max(0, at_ms - now_ms)


def _claim_of(shard: int, row: Sequence[Any]) -> Claim:
    member, token, kind, version, status, count, at_ms, tries, since, now, events, revision, unbuilt = row
    tenant_text, _, one = cast("bytes", member).decode().partition(":")
    tenant = Tenant(tenant_text)
    is_repeat = kind == b"resend"
    return Claim(
        tenant=tenant,
        id=SubscriptionId(one),
        shard=shard,
        token=int(token),
        type=NotificationType.EVENT_NOTIFICATION if is_repeat else _TYPES[kind],
        subscription_version=int(version),
        status=_STATUSES[status],
        count=int(count),
        at_ms=int(at_ms),
        attempts=int(tries),
        since_ms=int(since),
        now_ms=int(now),
        events=tuple(event_of(tenant, entry_id, _pairs(fields)) for entry_id, fields in events),
        revision=cast("bytes", revision).decode(),
        is_repeat=is_repeat,
        unbuilt=int(unbuilt),
    )


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
