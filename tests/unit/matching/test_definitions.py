"""A filterDefinition names the parameter to which a topic gives another name."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.matching.context import SearchContext
from broker.matching.definitions import find_parameter
from broker.matching.naive import NaiveMatcher
from broker.matching.offers import check_offers
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import FilterDefinition, Topic

Topics = Callable[..., Topic]
Subscriptions = Callable[..., Subscription]
HL7 = "http://hl7.org/fhir/SearchParameter/"


@pytest.mark.parametrize(
    ("name", "definition", "code"),
    [
        ("person", f"{HL7}clinical-patient", "patient"),
        ("person", f"{HL7}Encounter-patient", "patient"),
        ("person", "http://hl7.org/fhir/5.0/SearchParameter/clinical-patient|5.0.0", "patient"),
        ("key", f"{HL7}Resource-id", "_id"),
        ("status", f"{HL7}Encounter-class", "class"),
        ("status", f"{HL7}Observation-class", "status"),
        ("status", "http://example.org/SearchParameter/Encounter-class", "status"),
        ("status", f"{HL7}Encounter-unheard", "status"),
        ("status", None, "status"),
        ("unheard", f"{HL7}Encounter-unheard", None),
    ],
)
def test_a_known_definition_takes_precedence_over_the_name(
    name: str, definition: str | None, code: str | None, topic: Topics, table: Any
) -> None:
    about = topic(filters=(FilterDefinition(name, definition=definition),))
    parameter = find_parameter(table, Release.R4, "Encounter", name, about)
    assert (parameter.code if parameter else None) == code


def test_a_name_may_mean_different_parameters_in_two_topics(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    matcher = NaiveMatcher(SearchContext(table))
    state = FilterDefinition("kind", definition=f"{HL7}Encounter-status")
    sort = FilterDefinition("kind", definition=f"{HL7}Encounter-class")
    filter_ = Filter("kind", "AMB")
    matcher.put(subscription(filter_, id=SubscriptionId("state")), topic(url="http://a", filters=(state,)))
    matcher.put(subscription(filter_, id=SubscriptionId("sort")), topic(url="http://b", filters=(sort,)))
    body = b'{"resourceType":"Encounter","id":"e","status":"planned","class":{"code":"AMB"}}'
    key = VersionKey(DEFAULT_TENANT, "Encounter", "e", 1)
    about = Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, Resource(body)), None)
    assert [match.subscription_id for match in matcher.match(about)] == ["sort"]


def test_an_offered_filter_that_cannot_be_evaluated_is_an_error(topic: Topics, table: Any) -> None:
    offers = (
        FilterDefinition("status", modifiers=frozenset({"in", "text-advanced"})),
        FilterDefinition("ward", definition="http://example.org/SearchParameter/ward"),
        FilterDefinition("_in"),
        FilterDefinition("patient.family", modifiers=frozenset({"exact"})),
        FilterDefinition("patient.family", comparators=frozenset({Comparator.GT})),
        FilterDefinition("patient.unheard"),
        FilterDefinition("status.family"),
        FilterDefinition("person", definition=f"{HL7}clinical-patient"),
    )
    problems = list(check_offers(topic(filters=offers), table))
    assert all(problem.is_error for problem in problems)
    positions = [problem.location and problem.location.position for problem in problems]
    assert positions == [0, 1, 2, 4, 5, 6]
    assert ":text-advanced" in problems[0].text
    assert "nor is http://example.org/SearchParameter/ward" in problems[1].text
