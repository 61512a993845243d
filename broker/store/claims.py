"""A claim, as a dispatcher holds it, and the verdict that ends it, as `commit.lua` takes it."""

import msgspec

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
from broker.model.subscription import SubscriptionId, SubscriptionStatus
from broker.store import keys
from broker.store.records import DecisionWord, Verdict, event_of
from broker.store.scripts.delivery import ClaimReply

_TYPES = {notification_type.value: notification_type for notification_type in NotificationType}
_RESEND = "resend"


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One notification to send now. Everything in it is pinned: a later attempt of it is identical (R-209).

    `count` is the highest event number up to and including this notification; `since_ms` the moment of the
    first failed attempt (0: none); `now_ms` store time. `revision` names the document, because a subscription
    may be deleted and created again with the same id and versions; `secrets_id` names its signing
    secrets ('' for none). `is_repeat`: its events were delivered before and are sent once more on request
    (R-367). `build_failures` counts the failed attempts in which the notification could not even be built.
    `interrupted_ms`: when the claim before it was taken, if that ended without a commit (0: it did not).
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
    interrupted_ms: int = 0

    @property
    def is_takeover(self) -> bool:
        """Whether the dispatcher of the claim before it may have sent the notification."""
        return self.interrupted_ms > 0

    def with_events(self, events: tuple[Event, ...]) -> "Claim":
        """The claim with its events as they are sent."""
        return self if events == self.events else msgspec.structs.replace(self, events=events)


def claim_of(shard: int, reply: ClaimReply) -> Claim:
    """The claim that a script has taken in a shard."""
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
        interrupted_ms=record.interrupted_at,
    )


def verdict_of(
    claim: Claim,
    decision: Decision | None,
    dead_letters: tuple[tuple[int, str], ...],
    *,
    takes_next: bool,
    outcome: str,
) -> Verdict:
    """What `commit.lua` gets of the claim. `dead_letters` are numbers of events with their texts."""
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
