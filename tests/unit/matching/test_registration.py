"""Which filters a subscription may have."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.registration import check_filters, filter_applies, filter_warnings
from broker.matching.valuesets import ValueSetFolder
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
    FilterDefinition("_in"),
    FilterDefinition("person", definition="http://hl7.org/fhir/SearchParameter/clinical-patient"),
    FilterDefinition("ward", definition="http://example.org/SearchParameter/ward"),
    FilterDefinition("patient.birthdate", comparators=frozenset({Comparator.GE})),
    FilterDefinition("patient.family", modifiers=frozenset({"exact", "type"})),
    FilterDefinition("subject.family"),
    FilterDefinition("patient.phonetic"),
    FilterDefinition("patient.unheard"),
    FilterDefinition("status.family"),
    FilterDefinition("patient.link.family"),
)


@pytest.fixture
def observations(topic: Topics) -> Topic:
    kinds = ("Observation", "Encounter")
    return topic(
        resource_triggers=tuple(ResourceTrigger(kind, frozenset(Interaction)) for kind in kinds),
        filters=OFFERS,
    )


@pytest.mark.parametrize(
    "filter_",
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
        Filter("person", "Patient/1"),
        Filter("patient.birthdate", "ge1980"),
        Filter("patient.birthdate", "1980", comparator=Comparator.GE),
        Filter("patient.family", "x", modifier="exact"),
        Filter("subject", "x", modifier="Patient.family", resource_type="Observation"),
        Filter("subject:Patient.family", "x", resource_type="Observation"),
    ],
)
def test_a_filter_the_topic_offers_is_accepted(
    filter_: Filter, observations: Topic, subscription: Subscriptions, context: SearchContext
) -> None:
    assert check_filters(subscription(filter_), observations, context) == []


@pytest.mark.parametrize(
    ("filter_", "code", "word"),
    [
        (Filter("code", "x"), "not-supported", "does not offer the filter code"),
        (Filter("class", "x", resource_type="Observation"), "not-supported", "of Observation"),
        (Filter("date", "2024"), "not-supported", "date"),
        (Filter("patient", "1", resource_type="Patient"), "not-supported", "never notifies about Patient"),
        (Filter("unheard-of", "1"), "not-supported", "no search parameter"),
        (Filter("patient.name", "x"), "not-supported", "patient.name"),
        (Filter("status", "x", modifier="in"), "not-supported", "value set x is not loaded"),
        (Filter("status", "x", modifier="text"), "not-supported", "offer the modifier :text"),
        (Filter("value-quantity", "lt5"), "not-supported", "comparator lt"),
        (Filter("value-quantity", "5", comparator=Comparator.LT), "not-supported", "comparator lt"),
        (Filter("combo-code-value-quantity", "8480-6$lt5"), "not-supported", "comparator lt"),
        (Filter("value-quantity", "5", Comparator.GT, "missing"), "invalid", "exclude each other"),
        (Filter("value-quantity", "gt5", comparator=Comparator.GT), "value", "two comparators"),
        (Filter("value-quantity", "much"), "value", "not a number"),
        (Filter("patient", "Group/1"), "value", "never refers to Group"),
        (Filter("_in", "Group/1"), "not-supported", "may be defined by traits"),
        (Filter("ward", "1"), "not-supported", "no search parameter ward"),
        (Filter("person", "Group/1"), "value", "never refers to Group"),
        (Filter("patient.birthdate", "lt1980"), "not-supported", "comparator lt"),
        (Filter("patient.birthdate", "soon"), "value", "not a date"),
        (Filter("patient.family", "x", modifier="contains"), "not-supported", "modifier :contains"),
        (Filter("patient.family", "x", Comparator.GT, "exact"), "invalid", "exclude each other"),
        (Filter("patient.phonetic", "x"), "not-supported", "phonetic algorithm"),
        (Filter("patient.unheard", "x"), "not-supported", "Patient has no search parameter unheard"),
        (Filter("patient.gender", "x"), "not-supported", "does not offer the filter patient.gender"),
        (Filter("status.family", "x"), "not-supported", "status is not a reference"),
        (Filter("patient.link.family", "x"), "not-supported", "more than one reference"),
        (Filter("patient:Group.family", "x"), "not-supported", "never refers to Group"),
        (Filter("patient:exact.family", "x"), "not-supported", "does not offer the filter patient:exact"),
    ],
)
def test_a_filter_that_cannot_be_honoured_is_refused_by_name(
    filter_: Filter,
    code: str,
    word: str,
    observations: Topic,
    subscription: Subscriptions,
    context: SearchContext,
) -> None:
    (problem,) = check_filters(subscription(Filter("patient", "1"), filter_), observations, context)
    assert problem.refusal == code
    assert filter_.parameter.partition(":")[0] in problem.text
    assert word in problem.text
    assert problem.index == 1


def test_a_parameter_of_another_release_is_refused_if_the_type_converts(
    observations: Topic, subscription: Subscriptions, table: Any, context: SearchContext
) -> None:
    """The subscriber sees every Encounter in its own release, where nothing has that parameter."""
    table.only["class"] = Release.R5
    (problem,) = check_filters(subscription(Filter("class", "AMB")), observations, context)
    assert "in r4" in problem.text
    reader = subscription(Filter("class", "AMB"), release=Release.R5)
    assert check_filters(reader, observations, context) == []


def test_a_parameter_of_another_release_is_accepted_if_the_type_does_not_convert(
    topic: Topics, subscription: Subscriptions, table: Any, context: SearchContext
) -> None:
    table.only["probability"] = Release.R5
    risks = topic(
        resource_triggers=(ResourceTrigger("RiskAssessment", frozenset(Interaction)),),
        filters=(FilterDefinition("probability"),),
    )
    assert check_filters(subscription(Filter("probability", "0.25")), risks, context) == []


@pytest.mark.parametrize(
    ("release", "value", "modifier", "is_accepted"),
    [
        (Release.R4, "finished", None, True),
        (Release.R4B, "finished,planned", "not", True),
        (Release.R5, "completed", None, True),
        (Release.R4, "completed", None, False),
        (Release.R5, "finished", None, False),
        (Release.R5, "completed,finished", None, False),
        (Release.R5, "finished", "not", False),
        (Release.R4, "Finished", None, False),
    ],
)
def test_a_code_that_the_subscribers_release_does_not_have_is_refused(
    release: Release,
    value: str,
    modifier: str | None,
    is_accepted: bool,
    topic: Topics,
    subscription: Subscriptions,
) -> None:
    offers = topic(filters=(FilterDefinition("status", modifiers=frozenset({"not"})),))
    problems = check_filters(
        subscription(Filter("status", value, modifier=modifier), release=release),
        offers,
        SearchContext(SearchParameters()),
    )
    assert (problems == []) is is_accepted
    if problems:
        assert "is no code" in problems[0].text
        assert "entered-in-error" in problems[0].text


def test_a_topic_about_every_type_takes_filters_for_a_type(
    topic: Topics, subscription: Subscriptions, context: SearchContext
) -> None:
    every = topic(resource_triggers=(ResourceTrigger("Resource", frozenset(Interaction)),))
    filter_ = Filter("patient", "1", resource_type="Encounter")
    assert check_filters(subscription(filter_), every, context) == []
    assert check_filters(subscription(Filter("nothing", "1")), every, context) != []


def test_a_filter_without_a_type_applies_where_the_topic_offers_it(observations: Topic) -> None:
    assert filter_applies(Filter("class", "x"), observations, "Encounter")
    assert not filter_applies(Filter("class", "x"), observations, "Observation")
    assert filter_applies(Filter("patient", "x"), observations, "Observation")
    assert filter_applies(Filter("offered-nowhere", "x"), observations, "Observation")


def test_a_composite_takes_comparators_unless_its_topic_lists_some(
    topic: Topics, subscription: Subscriptions, context: SearchContext
) -> None:
    name = "combo-code-value-quantity"
    filtered = subscription(Filter(name, "8867-4$gt120"), Filter(name, "8867-4$lt120"))
    triggers = (ResourceTrigger("Observation", frozenset(Interaction)),)
    open_topic = topic(resource_triggers=triggers, filters=(FilterDefinition(name),))
    narrow = FilterDefinition(name, comparators=frozenset({Comparator.GT}))
    narrow_topic = topic(resource_triggers=triggers, filters=(narrow,))
    assert check_filters(filtered, open_topic, context) == []
    (problem,) = check_filters(filtered, narrow_topic, context)
    assert "comparator lt" in problem.text


def test_a_loaded_value_set_is_accepted(
    observations: Topic, subscription: Subscriptions, context: SearchContext
) -> None:
    value_sets = ValueSetFolder(codes={"http://sets/a": frozenset({("s", "c")})})
    filtered = subscription(Filter("status", "http://sets/a", modifier="in"))
    with_value_sets = SearchContext(context.parameters, value_sets=value_sets)
    assert check_filters(filtered, observations, with_value_sets) == []


def test_the_chain_of_an_untyped_filter_applies_where_it_is_offered(topic: Topics) -> None:
    offers = (FilterDefinition("patient.family", resource="Encounter"),)
    about = topic(filters=offers)
    assert filter_applies(Filter("patient", "x", modifier="Patient.family"), about, "Encounter")
    assert not filter_applies(Filter("patient.family", "x"), about, "Observation")


LAB = Filter("patient", "Patient/1", resource_type="Observation")
REPORT = Filter("patient", "Patient/1", resource_type="DiagnosticReport")


@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize(
    ("filters", "unfiltered"),
    [
        ((), ""),
        ((LAB,), "DiagnosticReport"),
        ((REPORT,), "Observation"),
        ((LAB, REPORT), ""),
        ((Filter("patient", "Patient/1"),), ""),
        ((Filter("code", "a"),), "DiagnosticReport"),
    ],
)
def test_a_warning_names_the_types_to_which_no_filter_applies(
    filters: tuple[Filter, ...], unfiltered: str, sends: bool, topic: Topics, subscription: Subscriptions
) -> None:
    types = ("Observation", "DiagnosticReport")
    laboratory = topic(
        resource_triggers=tuple(ResourceTrigger(each, frozenset(Interaction)) for each in types),
        filters=(*(FilterDefinition("patient", each) for each in types), FilterDefinition("code", types[0])),
        sends_unfiltered_types=sends,
    )
    warnings = filter_warnings(subscription(*filters), laboratory)
    assert len(warnings) == bool(unfiltered)
    for warning in warnings:
        assert f"No filter applies to {unfiltered}:" in warning
        assert ("every such event" in warning) is sends


@pytest.mark.parametrize(
    ("filters", "is_warned"),
    [((LAB,), True), ((Filter("patient", "Patient/1", resource_type="Resource"),), False)],
)
def test_a_topic_about_every_type_warns_about_other_types(
    filters: tuple[Filter, ...], is_warned: bool, topic: Topics, subscription: Subscriptions
) -> None:
    every = topic(resource_triggers=(ResourceTrigger("Resource", frozenset(Interaction)),))
    warnings = filter_warnings(subscription(*filters), every)
    assert bool(warnings) is is_warned
    assert not warnings or "other types" in warnings[0]
