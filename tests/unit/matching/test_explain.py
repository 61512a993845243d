"""An explanation has the verdict of the matcher, and the reasons."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.matching.context import SearchContext
from broker.matching.explain import explain, needed_targets
from broker.matching.explanations import ExplainOutcome, Explanation
from broker.matching.findings import MAX_CHARS, short, text_of
from broker.matching.naive import NaiveMatcher
from broker.matching.registration import sends
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version
from broker.model.release import Release
from broker.model.search import Comparator, Filter
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.model.topic import (
    Coding,
    EventTrigger,
    FilterDefinition,
    QueryCriteria,
    ResourceTrigger,
    Topic,
    TopicStatus,
)
from tests.unit.matching.explained import (
    ADMIT,
    BASES,
    CONTEXT,
    RELATED,
    SUBSCRIPTIONS,
    TOPICS,
    Subscriptions,
    Topics,
    changes,
    version,
)


@given(SUBSCRIPTIONS, TOPICS, changes(), RELATED)
def test_the_verdict_equals_that_of_the_naive_matcher(
    subscription: Subscription, topic: Topic, change: Change, related: dict[tuple[str, str], Version]
) -> None:
    matcher = NaiveMatcher(CONTEXT)
    matcher.put(subscription, topic)
    explanation = explain(subscription, topic, change, CONTEXT, related)
    assert explanation.matches is bool(matcher.match(change, related))
    assert explanation.reason
    if subscription.tenant == change.current.key.tenant:
        fires = any(report.outcome is ExplainOutcome.PASSED for report in explanation.triggers)
        passes = all(
            report.outcome in {ExplainOutcome.PASSED, ExplainOutcome.NOT_EVALUATED}
            for report in explanation.filters
        )
        is_sent = sends(subscription.filters, topic, change.current.key.type)
        assert explanation.matches is (fires and passes and is_sent)


@given(SUBSCRIPTIONS, TOPICS, changes())
def test_it_needs_at_least_what_the_matcher_needs(
    subscription: Subscription, topic: Topic, change: Change
) -> None:
    matcher = NaiveMatcher(CONTEXT)
    matcher.put(subscription, topic)
    assert needed_targets(subscription, topic, change, CONTEXT) >= matcher.needs(change)


MEMBERS = st.sampled_from(
    [
        "coding",
        "code",
        "system",
        "reference",
        "identifier",
        "unit",
        "value",
        "low",
        "start",
        "given",
        "concept",
    ]
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda values: st.lists(values) | st.dictionaries(MEMBERS, values),
    )
)
def test_any_value_has_a_short_text(value: Any) -> None:
    assert len(short(value)) <= MAX_CHARS


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (
            {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "x"},
            "http://loinc.org|8867-4",
        ),
        ({"text": "only text"}, "only text"),
        ({"value": 91, "unit": "mmHg", "code": "mm[Hg]"}, "91 mm[Hg]"),
        ({"reference": "Patient/1", "display": "Ana"}, "Patient/1"),
        ({"reference": {"reference": "Device/1"}}, "Device/1"),
        ({"identifier": {"system": "urn:mrn", "value": "7"}}, "urn:mrn|7"),
        ({"start": "2024", "end": "2025"}, "2024..2025"),
        ({"family": "Núñez", "given": ["Ana"]}, "Ana Núñez"),
        ({"unknown": 1}, '{"unknown": 1}'),
    ],
)
def test_values_are_shown_as_people_write_them(value: Any, text: str) -> None:
    assert short(value) == text


def test_a_filter_is_shown_as_a_search_term() -> None:
    assert text_of(Filter("code", "a,b", modifier="not")) == "code:not=a,b"
    assert text_of(Filter("value-quantity", "90", Comparator.GT)) == "value-quantity=gt90"


def encounter(status: str, patient: str = "Patient/1") -> dict[str, Any]:
    return {"status": status, "subject": {"reference": patient}}


def explained(
    subscription: Subscription,
    topic: Topic,
    current: Any,
    previous: Any,
    interaction: Interaction,
    table: Any,
) -> Explanation:
    before = None
    if previous is not None:
        before = version(previous, 1, Interaction.CREATE, Release.R4, "Encounter")
    now = version(current, 2, interaction, Release.R4, "Encounter")
    return explain(subscription, topic, Change("1-0", 0, now, before), SearchContext(table, BASES))


QUERY = QueryCriteria("status:not=finished", "status=finished", result_for_create=False, require_both=True)


def test_each_query_term_reports_the_searched_and_found_values(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    firing = topic(resource_triggers=(ResourceTrigger("Encounter", frozenset(Interaction), QUERY),))
    explanation = explained(
        subscription(), firing, encounter("planned"), encounter("planned"), Interaction.UPDATE, table
    )
    [trigger] = explanation.triggers
    before, after = trigger.criteria
    assert (before.part, before.outcome, after.part, after.outcome) == (
        "previous",
        ExplainOutcome.PASSED,
        "current",
        ExplainOutcome.FAILED,
    )
    [term] = after.terms
    assert (term.parameter, term.wanted, term.found) == ("status", "finished", ("planned",))
    assert trigger.require_both
    assert "resource trigger[0] current: status=finished does not pass: found planned" in explanation.reason


def test_the_result_for_an_absent_state_is_reported(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    firing = topic(resource_triggers=(ResourceTrigger("Encounter", frozenset(Interaction), QUERY),))
    explanation = explained(subscription(), firing, encounter("finished"), None, Interaction.CREATE, table)
    assert "result for create is test-fails" in explanation.reason
    explanation = explained(subscription(), firing, None, encounter("planned"), Interaction.DELETE, table)
    assert "defines no result for delete" in explanation.reason


def test_another_type_or_interaction_is_reported(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    other_type = topic(resource_triggers=(ResourceTrigger("Patient", frozenset(Interaction)),))
    assert (
        "is about Patient"
        in explained(subscription(), other_type, {}, None, Interaction.CREATE, table).reason
    )
    other_interaction = topic(
        resource_triggers=(ResourceTrigger("Encounter", frozenset({Interaction.DELETE})),)
    )
    assert (
        "is about delete only"
        in explained(subscription(), other_interaction, {}, None, Interaction.CREATE, table).reason
    )
    without_trigger = topic(resource_triggers=())
    assert (
        "it has no trigger"
        in explained(subscription(), without_trigger, {}, None, Interaction.CREATE, table).reason
    )


def test_fhirpath_criteria_report_their_result_or_error(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    for path, outcome, reason in (
        ("%current.status = 'planned'", ExplainOutcome.PASSED, "is true"),
        ("%current.status = 'x'", ExplainOutcome.FAILED, "is not true"),
        ("%current.status", ExplainOutcome.ERROR, "not one boolean"),
    ):
        trigger = ResourceTrigger("Encounter", frozenset(Interaction), fhirpath=path)
        firing = topic(resource_triggers=(trigger,))
        explanation = explained(subscription(), firing, encounter("planned"), None, Interaction.CREATE, table)
        assert explanation.triggers[0].criteria[0].outcome is outcome
        assert reason in explanation.triggers[0].criteria[0].reason
        assert explanation.triggers[0].outcome is outcome


def test_filters_report_the_found_and_the_searched_value(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    filtered = subscription(Filter("status", "planned"), Filter("patient", "Patient/2"))
    explanation = explained(filtered, topic(), encounter("planned"), None, Interaction.CREATE, table)
    status, patient = explanation.filters
    assert (status.outcome, status.found) == (ExplainOutcome.PASSED, ("planned",))
    assert (patient.outcome, patient.wanted, patient.found) == (
        ExplainOutcome.FAILED,
        "Patient/2",
        ("Patient/1",),
    )
    assert patient.expression
    assert not explanation.matches
    assert explanation.reason == (
        "This create of Encounter is no event: the filter patient=Patient/2 does not pass: found Patient/1."
    )


def test_a_filter_for_another_type_is_not_evaluated(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    filtered = subscription(Filter("status", "x", resource_type="Patient"))
    explanation = explained(filtered, topic(), encounter("planned"), None, Interaction.CREATE, table)
    assert explanation.matches
    assert explanation.filters[0].outcome is ExplainOutcome.NOT_EVALUATED
    assert "no filter applies" in explanation.reason


def test_a_filter_that_cannot_be_evaluated_reports_the_reason(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    filtered = subscription(Filter("date", "2024"))
    broken = {**encounter("planned"), "period": {"start": "soon"}}
    explanation = explained(filtered, topic(), broken, None, Interaction.CREATE, table)
    assert explanation.filters[0].outcome is ExplainOutcome.ERROR
    assert "can't be evaluated" in explanation.reason


def test_a_chain_reports_its_targets_and_their_values() -> None:
    topic = Topic(
        "t",
        "http://example.org/topics/t",
        None,
        TopicStatus.ACTIVE,
        None,
        (ResourceTrigger("Observation", frozenset(Interaction)),),
        (),
        (FilterDefinition("patient.gender"),),
        (),
        (),
        b"{}",
        Release.R5,
    )
    subscription = Subscription(
        DEFAULT_TENANT,
        SubscriptionId("s"),
        Release.R4,
        SubscriptionStatus.ACTIVE,
        topic.url,
        (Filter("patient.gender", "female"),),
        Channel(ChannelType("rest-hook"), None, (), "json", PayloadContent.EMPTY),
        b"{}",
    )
    state = {"status": "final", "subject": {"reference": "Patient/1"}}
    change = Change("1-0", 0, version(state, 1, Interaction.CREATE, Release.R4, "Observation"), None)
    assert needed_targets(subscription, topic, change, CONTEXT) == {("Patient", "1")}
    patient = version({"gender": "male"}, 1, Interaction.CREATE, Release.R4, "Patient")
    explanation = explain(subscription, topic, change, CONTEXT, related={("Patient", "1"): patient})
    assert explanation.filters[0].found == ("Patient/1: male",)
    missing = explain(subscription, topic, change, CONTEXT)
    assert missing.filters[0].found == ("Patient/1: not stored",)
    assert missing.filters[0].outcome is ExplainOutcome.ERROR


def test_the_parts_of_a_composite_are_shown_together() -> None:
    topic = Topic(
        "t", "http://t", None, TopicStatus.ACTIVE, None,
        (ResourceTrigger("Observation", frozenset(Interaction)),), (),
        (FilterDefinition("code-value-quantity"),), (), (), b"{}", Release.R5,
    )  # fmt: skip
    subscription = Subscription(
        DEFAULT_TENANT, SubscriptionId("s"), Release.R4, SubscriptionStatus.ACTIVE, topic.url,
        (Filter("code-value-quantity", "8867-4$gt100"),),
        Channel(ChannelType("rest-hook"), None, (), "json", PayloadContent.EMPTY), b"{}",
    )  # fmt: skip
    state = {
        "status": "final",
        "code": {"coding": [{"code": "8867-4"}]},
        "valueQuantity": {"value": 91, "unit": "/min"},
    }
    change = Change("1-0", 0, version(state, 1, Interaction.CREATE, Release.R4, "Observation"), None)
    explanation = explain(subscription, topic, change, CONTEXT)
    assert explanation.filters[0].found == ("8867-4 $ 91 /min",)
    assert explanation.filters[0].outcome is ExplainOutcome.FAILED


def test_an_event_trigger_reports_its_codes(topic: Topics, subscription: Subscriptions, table: Any) -> None:
    firing = topic(event_triggers=(EventTrigger("Encounter", (ADMIT,)),))
    now = version(encounter("planned"), 2, Interaction.UPDATE, Release.R4, "Encounter")
    happened = explain(subscription(), firing, Change("1-0", 0, now, None, (ADMIT,)), SearchContext(table))
    assert happened.matches
    assert [report.outcome for report in happened.triggers] == [
        ExplainOutcome.NOT_EVALUATED,
        ExplainOutcome.PASSED,
    ]
    assert "http://v2|A01" in happened.triggers[1].reason
    other = explain(
        subscription(),
        firing,
        Change("1-0", 0, now, None, (Coding("http://v2", "A02"),)),
        SearchContext(table),
    )
    assert not other.matches
    assert [report.outcome for report in other.triggers] == [
        ExplainOutcome.NOT_EVALUATED,
        ExplainOutcome.FAILED,
    ]
