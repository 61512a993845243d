"""Which filters a subscription may have."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.matching.registration import check_filters, filter_applies
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import Comparator, Filter
from broker.model.subscription import Subscription
from broker.model.topic import FilterDefinition, ResourceTrigger, Topic

Topics = Callable[..., Topic]
Subscriptions = Callable[..., Subscription]
OFFERS = (
    FilterDefinition("patient"),
    FilterDefinition("status", modifiers=frozenset({"not", "in"})),
    FilterDefinition("value-quantity", comparators=frozenset({Comparator.GT})),
    FilterDefinition("combo-code-value-quantity", comparators=frozenset({Comparator.GT})),
    FilterDefinition("subject", modifiers=frozenset({"type"})),
    FilterDefinition("class", resource="Encounter"),
    FilterDefinition("date", resource="Patient"),
    FilterDefinition("unheard-of"),
)


@pytest.fixture
def observations(topic: Topics) -> Topic:
    kinds = ("Observation", "Encounter")
    return topic(
        resource_triggers=tuple(ResourceTrigger(one, frozenset(Interaction)) for one in kinds),
        filters=OFFERS,
    )


@pytest.mark.parametrize(
    "wanted",
    [
        Filter("patient", "Patient/1"),
        Filter("patient", "1", resource_type="Observation"),
        Filter("status", "final", comparator=Comparator.EQ),
        Filter("status", "final", modifier="not"),
        Filter("value-quantity", "gt5"),
        Filter("value-quantity", "5", comparator=Comparator.GT),
        Filter("combo-code-value-quantity", "8480-6$gt5"),
        Filter("subject", "1", modifier="Patient", resource_type="Observation"),
        Filter("class", "AMB"),
        Filter("class", "AMB", resource_type="Encounter"),
    ],
)
def test_a_filter_the_topic_offers_is_accepted(
    wanted: Filter, observations: Topic, subscription: Subscriptions, table: Any
) -> None:
    assert check_filters(subscription(wanted), observations, table) == []


@pytest.mark.parametrize(
    ("wanted", "code", "word"),
    [
        (Filter("code", "x"), "not-supported", "can't be filtered by code"),
        (Filter("class", "x", resource_type="Observation"), "not-supported", "of Observation"),
        (Filter("date", "2024"), "not-supported", "date"),
        (Filter("patient", "1", resource_type="Patient"), "not-supported", "never notifies about Patient"),
        (Filter("unheard-of", "1"), "not-supported", "no search parameter"),
        (Filter("patient.name", "x"), "not-supported", "patient.name"),
        (Filter("status", "x", modifier="in"), "not-supported", ":in is not implemented"),
        (Filter("status", "x", modifier="text"), "not-supported", "offer the modifier :text"),
        (Filter("value-quantity", "lt5"), "not-supported", "comparator lt"),
        (Filter("value-quantity", "5", comparator=Comparator.LT), "not-supported", "comparator lt"),
        (Filter("combo-code-value-quantity", "8480-6$lt5"), "not-supported", "comparator lt"),
        (Filter("value-quantity", "5", Comparator.GT, "missing"), "invalid", "exclude each other"),
        (Filter("value-quantity", "gt5", comparator=Comparator.GT), "value", "twice"),
        (Filter("value-quantity", "much"), "value", "no number"),
        (Filter("patient", "Group/1"), "value", "never refers to Group"),
    ],
)
def test_a_filter_that_cannot_be_honoured_is_refused_by_name(
    wanted: Filter, code: str, word: str, observations: Topic, subscription: Subscriptions, table: Any
) -> None:
    (issue,) = check_filters(subscription(Filter("patient", "1"), wanted), observations, table)
    assert issue.code == code
    assert wanted.parameter in issue.text
    assert word in issue.text
    assert issue.expression == "Subscription.criteria.extension[1]"


def test_the_issue_points_at_the_element_of_the_release(
    observations: Topic, subscription: Subscriptions, table: Any
) -> None:
    bad = Filter("code", "x")
    (issue,) = check_filters(subscription(bad, release=Release.R5), observations, table)
    assert issue.expression == "Subscription.filterBy[0]"
    (issue,) = check_filters(subscription(bad), observations, table, lambda n: f"here[{n}]")
    assert issue.expression == "here[0]"


def test_a_parameter_of_another_release_will_do(
    observations: Topic, subscription: Subscriptions, table: Any
) -> None:
    table.only["class"] = Release.R5
    assert check_filters(subscription(Filter("class", "AMB")), observations, table) == []


def test_a_topic_about_every_type_takes_filters_for_a_type(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    every = topic(resource_triggers=(ResourceTrigger("Resource", frozenset(Interaction)),))
    wanted = Filter("patient", "1", resource_type="Encounter")
    assert check_filters(subscription(wanted), every, table) == []
    assert check_filters(subscription(Filter("nothing", "1")), every, table) != []


def test_a_filter_without_a_type_applies_where_the_topic_offers_it(observations: Topic) -> None:
    assert filter_applies(Filter("class", "x"), observations, "Encounter")
    assert not filter_applies(Filter("class", "x"), observations, "Observation")
    assert filter_applies(Filter("patient", "x"), observations, "Observation")
    assert filter_applies(Filter("offered-nowhere", "x"), observations, "Observation")
