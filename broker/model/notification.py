"""What a subscriber receives: a handshake, a heartbeat, numbered events, or the answer to a query."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from broker.model.change import Interaction, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from broker.model.topic import RelatedQuery


class NotificationType(StrEnum):
    """SubscriptionStatus.type (R-220)."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT_NOTIFICATION = "event-notification"
    QUERY_STATUS = "query-status"
    QUERY_EVENT = "query-event"


class DeliveryError(StrEnum):
    """Codes of http://terminology.hl7.org/CodeSystem/subscription-error (R-267)."""

    DNS = "dns-resolution-error"
    NO_RESPONSE = "no-response"
    ERROR_RESPONSE = "error-response"


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Why delivery last failed. `code` is None for reasons the code system has no word for."""

    code: DeliveryError | None
    text: str


class Included(NamedTuple):
    """A version of another resource that the topic's notificationShape includes (R-070)."""

    key: VersionKey
    release: Release


class Event(NamedTuple):
    """A change that matched one subscription. `number` starts at 1 and has no gaps (R-270).

    `context` was determined when the change was matched, so that a retry sends the same (R-209). `patient`
    is that of the change.
    """

    number: int
    at_ms: int
    focus: VersionKey
    release: Release
    interaction: Interaction
    context: tuple[Included, ...] = ()
    trace: str = ""
    patient: str = ""


def single_versions(events: Sequence[Event]) -> Sequence[Event]:
    """The events before the first that names another version of a resource than the events before it do.

    A notification with resources ends there, so that its Bundle has one version of each resource (decision
    140). A focus takes precedence over the same resource among the included ones of its own event. The store
    pins notifications by the same rule (`adds_second_version` in `next_notification.lua`).
    """
    versions: dict[str, int] = {}
    for n, event in enumerate(events):
        own = {event.focus.reference: event.focus.version}
        for included in event.context:
            own.setdefault(included.key.reference, included.key.version)
        if any(versions.get(reference, version) != version for reference, version in own.items()):
            return events[:n]
        versions |= own
    return events


class Focus(NamedTuple):
    """The stored bytes of an event's focus; None where it may not or can't be included (R-244).

    `context` has those of the event's context, in its order; it is empty where only references are sent.
    `omissions` say why a resource is missing that the content level includes.
    """

    event: Event
    resource: Resource | None
    context: tuple[Resource | None, ...] = ()
    omissions: tuple[str, ...] = ()


class Notification(NamedTuple):
    """One notification Bundle, before it takes the shape of a release.

    `events_since_start` is the count including this notification (R-252). `at_ms` and `id` are fixed at the
    first attempt, so that a retry sends the identical body (R-209). `topic` is left out of `empty`
    notifications by the renderer (R-241).
    """

    id: str
    type: NotificationType
    release: Release
    subscription: SubscriptionId
    topic: str
    status: SubscriptionStatus
    content: PayloadContent
    events_since_start: int
    at_ms: int
    foci: tuple[Focus, ...] = ()
    errors: tuple[ErrorReport, ...] = ()
    related: tuple[RelatedQuery, ...] = ()

    @property
    def reports(self) -> tuple[ErrorReport, ...]:
        """The errors of the status: those of the subscription, then why resources are missing, each once."""
        texts = dict.fromkeys(text for focus in self.foci for text in focus.omissions)
        return (*self.errors, *(ErrorReport(None, text) for text in texts))

    @property
    def ambiguous_references(self) -> frozenset[str]:
        """The resources, as `Type/id`, of which the events name more than one version."""
        versions: defaultdict[str, set[int]] = defaultdict(set)
        for focus in self.foci:
            for key in (focus.event.focus, *(included.key for included in focus.event.context)):
                versions[key.reference].add(key.version)
        return frozenset(reference for reference, numbers in versions.items() if len(numbers) > 1)

    def related_to(self, event: Event) -> tuple[RelatedQuery, ...]:
        """The queries that go with an event; none where not even its focus is named (R-240)."""
        if self.content is PayloadContent.EMPTY:
            return ()
        return tuple(query for query in self.related if query.resource == event.focus.type)
