"""A change finds the subscriptions it is an event of, and no others."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from broker.matching.context import SearchContext
from broker.matching.matcher import Match, Matcher
from broker.matching.naive import NaiveMatcher
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Filter
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Coding, EventTrigger, FilterDefinition, QueryCriteria, ResourceTrigger, Topic

Topics = Callable[..., Topic]
Subscriptions = Callable[..., Subscription]
UPDATE, DELETE = Interaction.UPDATE, Interaction.DELETE


@pytest.fixture
def matcher(context: SearchContext) -> NaiveMatcher:
    return NaiveMatcher(context)


def version(state: dict[str, Any] | None, number: int, interaction: Interaction, **more: Any) -> Version:
    kind = more.get("kind", "Encounter")
    key = VersionKey(more.get("tenant", DEFAULT_TENANT), kind, "e", number)
    body = None if state is None else json.dumps({"resourceType": kind, "id": "e", **state}).encode()
    return Version(
        key, more.get("release", Release.R4), interaction, 0, None if body is None else Resource(body)
    )


def change(
    current: dict[str, Any] | None,
    previous: dict[str, Any] | None = None,
    interaction: Interaction = Interaction.CREATE,
    **more: Any,
) -> Change:
    before = None if previous is None else version(previous, 1, Interaction.CREATE, **more)
    return Change("1-0", 0, version(current, 2, interaction, **more), before)


def ids(matches: list[Match]) -> set[str]:
    return {match.subscription_id for match in matches}


OF_ONE = Filter("patient", "Patient/1")
ONE = {"status": "finished", "subject": {"reference": "Patient/1"}}
TWO = {"status": "finished", "subject": {"reference": "Patient/2"}}


def test_it_is_a_matcher(matcher: NaiveMatcher) -> None:
    promised: Matcher = matcher
    assert promised.match(change(ONE)) == []


def test_all_filters_must_pass(matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions) -> None:
    matcher.put(subscription(id=SubscriptionId("all")), topic())
    matcher.put(subscription(OF_ONE, id=SubscriptionId("one")), topic())
    matcher.put(subscription(OF_ONE, Filter("status", "planned"), id=SubscriptionId("both")), topic())
    assert ids(matcher.match(change(ONE))) == {"all", "one"}
    assert ids(matcher.match(change(TWO))) == {"all"}
    assert ids(matcher.match(change({**ONE, "status": "planned"}))) == {"all", "one", "both"}


def test_a_match_names_tenant_subscription_and_topic_version(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    matcher.put(subscription(), topic())
    matches = matcher.match(change(ONE))
    assert matches == [Match(DEFAULT_TENANT, SubscriptionId("s"), "http://example.org/topics/t|1.0")]


def test_nothing_crosses_tenants(matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions) -> None:
    other = Tenant("other")
    matcher.put(subscription(), topic())
    matcher.put(subscription(tenant=other), topic())
    assert [match.tenant for match in matcher.match(change(ONE, tenant=other))] == [other]
    assert matcher.match(change(ONE, tenant=Tenant("third"))) == []


def test_put_replaces_and_remove_removes(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    matcher.put(subscription(OF_ONE), topic())
    matcher.put(subscription(Filter("patient", "Patient/2")), topic())
    assert matcher.match(change(ONE)) == []
    assert ids(matcher.match(change(TWO))) == {"s"}
    matcher.put(subscription(), topic(version="2.0"))
    assert [match.topic_canonical[-3:] for match in matcher.match(change(ONE))] == ["2.0"]
    matcher.remove(DEFAULT_TENANT, SubscriptionId("s"))
    matcher.remove(DEFAULT_TENANT, SubscriptionId("s"))
    assert matcher.match(change(ONE)) == []
    assert matcher._compiled == {}
    assert matcher._topics == {}


def test_a_topic_that_does_not_fire_matches_nobody(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    query = QueryCriteria(
        "status:not=finished",
        "status=finished",
        result_for_create=True,
        result_for_delete=False,
        require_both=True,
    )
    trigger = ResourceTrigger("Encounter", frozenset({Interaction.CREATE, UPDATE}), query)
    matcher.put(subscription(), topic(resource_triggers=(trigger,)))
    planned = {**ONE, "status": "planned"}
    assert matcher.match(change(ONE, planned, UPDATE))
    assert matcher.match(change(ONE))
    assert not matcher.match(change(ONE, ONE, UPDATE))
    assert not matcher.match(change(planned, ONE, UPDATE))
    assert not matcher.match(change(None, ONE, DELETE))


def test_filters_look_at_the_current_state_and_on_delete_at_the_one_before(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    matcher.put(subscription(OF_ONE), topic())
    assert matcher.match(change(ONE, TWO, UPDATE))
    assert not matcher.match(change(TWO, ONE, UPDATE))
    assert matcher.match(change(None, ONE, DELETE))
    assert not matcher.match(change(None, TWO, DELETE))


def test_a_deletion_whose_previous_state_is_gone_passes_no_filter(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("status", "x", modifier="not")), topic())
    assert not matcher.match(change(None, None, DELETE))
    (problem,) = matcher.drain_problems()
    assert problem.subscription_id == "s"
    assert "no longer stored" in str(problem)


def test_a_filter_for_one_type_does_not_block_another(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    every = frozenset(Interaction)
    two = topic(
        resource_triggers=(ResourceTrigger("Encounter", every), ResourceTrigger("Patient", every)),
        filters=(FilterDefinition("patient", "Encounter"), FilterDefinition("active", "Patient")),
    )
    matcher.put(subscription(OF_ONE, Filter("active", "true", resource_type="Patient")), two)
    assert matcher.match(change(ONE))
    assert not matcher.match(change(TWO))
    assert matcher.match(change({"active": True}, kind="Patient"))
    assert not matcher.match(change({"active": False}, kind="Patient"))


def test_a_filter_that_fails_does_not_pass_and_is_recorded_once(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("date", "2024")), topic(filters=(FilterDefinition("date"),)))
    assert not matcher.match(change({"period": {"start": "soon"}}))
    (problem,) = matcher.drain_problems()
    assert "subscription s" in str(problem)
    assert (problem.filter_index, problem.parameter) == (0, "date")
    assert matcher.drain_problems() == []


def test_a_failing_topic_is_recorded_and_does_not_fire(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    trigger = ResourceTrigger("Encounter", frozenset(Interaction), fhirpath="%current.status")
    matcher.put(subscription(), topic(resource_triggers=(trigger,)))
    assert not matcher.match(change(ONE))
    (problem,) = matcher.drain_problems()
    assert problem.subscription_id is None
    assert "topics/t" in str(problem)


def test_a_release_without_the_parameter_does_not_pass(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    table.only["patient"] = Release.R5
    matcher.put(subscription(OF_ONE), topic())
    matcher.put(subscription(OF_ONE, id=SubscriptionId("r5"), release=Release.R5), topic())
    for release in Release:
        assert [match.subscription_id for match in matcher.match(change(ONE, release=release))] == ["r5"]


def test_a_filter_that_cannot_be_compiled_matches_nothing(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("status", "x", modifier="in")), topic())
    assert not matcher.match(change(ONE))
    assert matcher.drain_problems()


def test_identical_filters_are_compiled_once(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    for n in range(10):
        matcher.put(subscription(OF_ONE, id=SubscriptionId(str(n))), topic())
    assert len(matcher.match(change(ONE))) == 10
    assert len(matcher._compiled) == 1


def test_decimals_are_compared_as_written(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    kind = "Observation"
    offers = (FilterDefinition("value-quantity"),)
    fitting = topic(resource_triggers=(ResourceTrigger(kind, frozenset(Interaction)),), filters=offers)
    matcher.put(subscription(Filter("value-quantity", "ge0.3")), fitting)
    assert matcher.match(change({"valueQuantity": {"value": 0.3}}, kind=kind))
    assert not matcher.match(change({"valueQuantity": {"value": 0.2999}}, kind=kind))


ADMIT = Coding("http://v2", "A01")


def test_a_business_event_fires_event_triggers_only(
    matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    states = topic(url="http://states")
    events = topic(
        url="http://events", resource_triggers=(), event_triggers=(EventTrigger("Encounter", (ADMIT,)),)
    )
    matcher.put(subscription(id=SubscriptionId("states")), states)
    matcher.put(subscription(id=SubscriptionId("events")), events)
    matcher.put(subscription(OF_ONE, id=SubscriptionId("of one")), events)
    happened = change(TWO, ONE, UPDATE)._replace(events=(ADMIT,))
    assert ids(matcher.match(happened)) == {"events"}
    assert ids(matcher.match(change(ONE)._replace(events=(ADMIT,)))) == {"events", "of one"}
    assert ids(matcher.match(change(ONE))) == {"states"}
    assert matcher.match(happened._replace(events=(Coding("http://v2", "A02"),))) == []


def test_criteria_and_filters_use_the_value_sets_that_are_loaded(
    topic: Topics, subscription: Subscriptions, table: Any
) -> None:
    current = CurrentValueSets()
    current.contents = ValueSetFolder(codes={"http://sets/x": frozenset({("http://c", "AMB")})})
    matcher = NaiveMatcher(SearchContext(table, value_sets=current))
    query = QueryCriteria(current="class:in=http://sets/x")
    firing = topic(resource_triggers=(ResourceTrigger("Encounter", frozenset(Interaction), query),))
    filter_ = Filter("class", "http://sets/x", modifier="in")
    matcher.put(subscription(filter_), firing)
    ambulatory = {"class": {"system": "http://c", "code": "AMB"}}
    assert matcher.match(change(ambulatory))
    assert not matcher.match(change({"class": {"system": "http://c", "code": "IMP"}}))
    current.contents = ValueSetFolder()
    assert not matcher.match(change(ambulatory))
    assert "no longer loaded" in str(matcher.drain_problems()[0])


@pytest.mark.parametrize("sends", [True, False])
def test_a_topic_may_keep_back_types_to_which_no_filter_applies(
    sends: bool, matcher: NaiveMatcher, topic: Topics, subscription: Subscriptions
) -> None:
    """R-144 lets them pass; US Core's patient-data-feed sends only what the filters name."""
    about = topic(sends_unfiltered_types=sends)
    typed = Filter("patient", "Patient/1", resource_type="Observation")
    matcher.put(subscription(typed), about)
    matcher.put(subscription(id=SubscriptionId("all")), about)
    matcher.put(subscription(OF_ONE, id=SubscriptionId("one")), about)
    expected = {"all", "one", "s"} if sends else {"all", "one"}
    assert {match.subscription_id for match in matcher.match(change(ONE))} == expected
