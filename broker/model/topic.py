"""A subscription topic in the broker's one internal shape: what fires, what may be filtered, what is sent along."""

from dataclasses import dataclass
from enum import StrEnum

from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import Comparator


class TopicStatus(StrEnum):
    """PublicationStatus; only `ACTIVE` topics take new subscriptions (R-013)."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Coding:
    """A code in a system."""

    system: str | None
    code: str
    display: str | None = None


@dataclass(frozen=True, slots=True)
class QueryCriteria:
    """Search-string tests before and after a change (R-030..R-035). A result is None where the topic leaves it open."""

    previous: str | None = None
    current: str | None = None
    result_for_create: bool | None = None
    result_for_delete: bool | None = None
    require_both: bool = False


@dataclass(frozen=True, slots=True)
class ResourceTrigger:
    """Fires on interactions with one resource type (R-020..R-028). `resource` is the plain type name.

    An empty `interactions` never occurs: absent means all three. Query and FHIRPath criteria are alternatives (OR).
    """

    resource: str
    interactions: frozenset[Interaction]
    query: QueryCriteria | None = None
    fhirpath: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Fires on a coded business event with a focus of the given type (R-050..R-052)."""

    resource: str
    codings: tuple[Coding, ...]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class FilterDefinition:
    """One canFilterBy (R-060..R-065). `resource` None means the topic's focus types."""

    parameter: str
    resource: str | None = None
    comparators: frozenset[Comparator] = frozenset()
    modifiers: frozenset[str] = frozenset()
    definition: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class RelatedQuery:
    """A query that a subscriber may want to ask after an event about a resource of that type (R-074)."""

    resource: str
    query: str
    type: Coding | None = None


@dataclass(frozen=True, slots=True)
class NotificationShape:
    """What to add to notifications about one focus type (R-070..R-074)."""

    resource: str
    include: tuple[str, ...] = ()
    rev_include: tuple[str, ...] = ()
    related: tuple[RelatedQuery, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """One version of one topic. `document` is the SubscriptionTopic JSON as loaded, of release `release`."""

    id: str
    url: str
    version: str | None
    status: TopicStatus
    title: str | None
    resource_triggers: tuple[ResourceTrigger, ...]
    event_triggers: tuple[EventTrigger, ...]
    filters: tuple[FilterDefinition, ...]
    shapes: tuple[NotificationShape, ...]
    derived_from: tuple[str, ...]
    document: bytes
    release: Release

    @property
    def canonical(self) -> str:
        return f"{self.url}|{self.version}" if self.version else self.url

    @property
    def related(self) -> tuple[RelatedQuery, ...]:
        """The related queries of all focus types."""
        return tuple(query for shape in self.shapes for query in shape.related)

    @property
    def focus_types(self) -> frozenset[str]:
        """The resource types this topic can notify about (`Resource` stands for every type, R-020)."""
        return frozenset(t.resource for t in self.resource_triggers) | frozenset(
            t.resource for t in self.event_triggers
        )
