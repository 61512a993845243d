"""The audit entries of delivery attempts: who was sent which versions of whose resources, and the result.

The engine passes them to the commit of the attempt, whose script writes them with the decision (decision
211).
"""

from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from broker.channels.write_targets import SCHEME
from broker.model.audit import AuditAction, AuditEntity, AuditEntry, AuditOutcome
from broker.model.notification import Event, Notification
from broker.model.outcome import (
    Advance,
    AdvanceTo,
    Decision,
    Delivered,
    DeliveryOutcome,
    EndpointGone,
    MarkError,
    MoveToDeadLetters,
    PartlyDelivered,
    Refused,
    Retry,
    TurnOff,
    Unreachable,
)
from broker.model.subscription import PayloadContent, Subscription
from broker.store.claims import Claim


def entries_of_attempt(
    claim: Claim, subscription: Subscription, outcome: DeliveryOutcome, decision: Decision
) -> list[AuditEntry]:
    """The entry of an attempt; before it that of an earlier one whose dispatcher ended before its commit."""
    entities = tuple(_entities(claim, subscription.channel.content))
    agent, address = subscription.owner, _origin(subscription.channel.endpoint)
    entry = AuditEntry(
        AuditAction.DELIVER,
        AuditOutcome.SUCCESS if isinstance(outcome, Delivered) else AuditOutcome.MINOR_FAILURE,
        agent,
        address,
        f"{claim.type} {_word(outcome)}{_consequence(decision)}",
        entities,
    )
    if not claim.is_takeover:
        return [entry]
    unknown = entry._replace(outcome=AuditOutcome.SERIOUS_FAILURE, detail=f"{claim.type} with unknown result")
    return [unknown, entry]


def entry_of_interrupted(claim: Claim) -> AuditEntry:
    """The entry of an attempt that was cancelled: the receiver may have got it."""
    return AuditEntry(
        AuditAction.DELIVER,
        AuditOutcome.SERIOUS_FAILURE,
        detail=f"{claim.type} interrupted",
        entities=tuple(_entities(claim, PayloadContent.FULL_RESOURCE)),
    )


def sent_entities(events: tuple[Event, ...], content: PayloadContent) -> Iterator[AuditEntity]:
    """The versions that a notification of the events names or contains."""
    if content is PayloadContent.EMPTY:
        return
    for event in events:
        focus = event.focus
        yield AuditEntity(focus.type, focus.id, focus.version, event.patient)
        for included in event.context:
            yield AuditEntity(included.key.type, included.key.id, included.key.version)


def entities_of(notification: Notification) -> tuple[AuditEntity, ...]:
    """The subscription of a notification, and what it names or contains."""
    events = tuple(focus.event for focus in notification.foci)
    return (
        AuditEntity("Subscription", notification.subscription),
        *sent_entities(events, notification.content),
    )


def _entities(claim: Claim, content: PayloadContent) -> Iterator[AuditEntity]:
    yield AuditEntity("Subscription", claim.id)
    yield from sent_entities(claim.events, content)


def _word(outcome: DeliveryOutcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Refused():
            return "refused"
        case Unreachable():
            return "unreachable"
        case EndpointGone():
            return "refused for good"
        case PartlyDelivered():
            return "partly delivered"
        case _:
            return "not built"


def _consequence(decision: Decision) -> str:
    match decision:
        case Advance():
            return ""
        case Retry():
            return "; it is tried again"
        case MarkError():
            return "; the subscription is in error"
        case TurnOff():
            return "; the subscription is off"
        case AdvanceTo(dead_letters=()):
            return "; the rest is tried again"
        case MoveToDeadLetters() | AdvanceTo():
            return "; events became dead letters"
        case _:
            return ""


@lru_cache(maxsize=10_000)
def _origin(endpoint: str | None) -> str:
    """Scheme, host and port: the path and the query of an endpoint may hold a secret. The name of a server
    that is written to is none.
    """
    if not endpoint or endpoint.startswith(SCHEME):
        return endpoint or ""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else f"{parts.scheme}:"
