"""SubscriptionTopics as values that are independent of the FHIR release.

`fhir/topics.py` parses and renders them. `matching/` evaluates them. A `TopicLocation` names a part of a
topic by its position; only `fhir/` turns it into the element path of a release.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import Comparator


class TopicStatus(StrEnum):
    """The PublicationStatus of a topic. Only `ACTIVE` topics accept new subscriptions (R-013)."""

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
    """Queries that the states before and after a change must match (R-030..R-035).

    `result_for_create` stands for the test of the previous state when a resource is created;
    `result_for_delete` stands for the test of the current state when it is deleted. Each is None where the
    topic does not define it.
    """

    previous: str | None = None
    current: str | None = None
    result_for_create: bool | None = None
    result_for_delete: bool | None = None
    require_both: bool = False


@dataclass(frozen=True, slots=True)
class ResourceTrigger:
    """Fires on interactions with one resource type (R-020..R-028). `resource` is the plain type name.

    `interactions` is never empty: a topic that lists none means all three. Query criteria and FHIRPath
    criteria are alternatives (OR).
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
    """One filter that a topic offers (R-060..R-065). `resource` None means the topic's focus types."""

    parameter: str
    resource: str | None = None
    comparators: frozenset[Comparator] = frozenset()
    modifiers: frozenset[str] = frozenset()
    definition: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class RelatedQuery:
    """A query that is useful to a subscriber after an event about a resource of that type (R-074)."""

    resource: str
    query: str
    type: Coding | None = None


@dataclass(frozen=True, slots=True)
class NotificationShape:
    """The resources to include in notifications about one focus type (R-070..R-074), and the elements to
    which resources are limited, as `Patient.name`.
    """

    resource: str
    include: tuple[str, ...] = ()
    rev_include: tuple[str, ...] = ()
    related: tuple[RelatedQuery, ...] = ()
    elements: tuple[str, ...] = ()


class TopicPart(StrEnum):
    """The kinds of parts of a topic that a location can name. The values are words for messages."""

    RESOURCE_TRIGGER = "resource trigger"
    EVENT_TRIGGER = "event trigger"
    FILTER_DEFINITION = "filter definition"
    NOTIFICATION_SHAPE = "notification shape"


class CriteriaKind(StrEnum):
    """The two kinds of criteria of a resource trigger."""

    QUERY = "query criteria"
    FHIRPATH = "FHIRPath criteria"


class TopicLocation(NamedTuple):
    """A trigger or filter definition of a topic, by its position (from 0), and optionally one of its
    criteria.
    """

    part: TopicPart
    position: int
    criteria: CriteriaKind | None = None

    def __str__(self) -> str:
        place = f"{self.part}[{self.position}]"
        return place if self.criteria is None else f"{place} {self.criteria}"


@dataclass(frozen=True, slots=True)
class Topic:
    """One version of one topic. `document` is the SubscriptionTopic JSON as it was loaded, in release
    `release`.

    `sends_unfiltered_types`: a subscription with filters also gets the events about types to which none of
    its filters applies (R-144). A topic may say that it does not.
    """

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
    sends_unfiltered_types: bool = True

    @property
    def canonical(self) -> str:
        return f"{self.url}|{self.version}" if self.version else self.url

    @property
    def related(self) -> tuple[RelatedQuery, ...]:
        """The related queries of all focus types."""
        return tuple(query for shape in self.shapes for query in shape.related)

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements to which the topic limits resources, whichever of its shapes names them."""
        return tuple(dict.fromkeys(name for shape in self.shapes for name in shape.elements))

    @property
    def focus_types(self) -> frozenset[str]:
        """The resource types this topic can notify about (`Resource` stands for every type, R-020)."""
        return frozenset(
            [trigger.resource for trigger in self.resource_triggers]
            + [trigger.resource for trigger in self.event_triggers]
        )
