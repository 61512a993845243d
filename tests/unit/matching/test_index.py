"""The index finds what the naive matcher finds, after any sequence of puts, removals and changes."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Match, Matcher
from broker.matching.naive import NaiveMatcher
from broker.matching.states import Related
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter
from broker.model.subscription import SubscriptionId
from broker.model.topic import FilterDefinition, QueryCriteria, ResourceTrigger, Topic
from tests.unit.matching.drawn import (
    BASES,
    EVERY,
    OBSERVATION,
    TENANTS,
    TwistedTable,
    operations,
    subscribed,
    topics,
    versions,
)

Topics = Callable[..., Topic]
LOINC = "http://loinc.org"
CONTEXT = SearchContext(SearchParameters())


def sorted_matches(matches: list[Match]) -> list[tuple[str, str, str]]:
    return sorted((match.tenant, match.subscription_id, match.topic_canonical) for match in matches)


def meet(naive: Matcher, index: Matcher, change: Change, stored: Related) -> None:
    needed = index.needs(change)
    assert needed >= naive.needs(change)
    related = {target: version for target, version in stored.items() if target in needed}
    expected = sorted_matches(naive.match(change, related))
    assert sorted_matches(index.match(change, related)) == expected
    problems = [
        {problem for problem in matcher.drain_problems() if problem.subscription_id}
        for matcher in (naive, index)
    ]
    assert problems[1] - problems[0] == set()
    event("matches" if expected else "no match")


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink))
@given(
    st.lists(topics(), min_size=3, max_size=5),
    operations,
    st.tuples(*(versions("Patient", Interaction.CREATE, DEFAULT_TENANT) for _ in range(2))),
)
def test_the_index_finds_what_the_naive_matcher_finds(
    drawn_topics: list[Topic], steps: list[Any], patients: tuple[Version, Version]
) -> None:
    value_sets = CurrentValueSets()
    value_sets.contents = ValueSetFolder(codes={"http://sets/x": frozenset({("http://s", "a")})})
    naive = NaiveMatcher(SearchContext(TwistedTable(), BASES, value_sets))
    index = IndexedMatcher(SearchContext(TwistedTable(), BASES, value_sets))
    stored = {("Patient", "1"): patients[0], ("Patient", "2"): patients[1]}
    for name, *about in steps:
        if name == "change":
            meet(naive, index, about[0], stored)
        elif name == "remove":
            for matcher in (naive, index):
                matcher.remove(about[1], SubscriptionId(str(about[0])))
        else:
            first, count, tenant, release, shared, own, topic = about
            for n in range(count):
                subscription = subscribed(str(first + n), tenant, release, *shared, *own[n % len(own)])
                naive.put(subscription, drawn_topics[topic])
                index.put(subscription, drawn_topics[topic])
                refile(index)
    for name, *about in steps:
        if name == "change":
            meet(naive, index, about[0], stored)
    for tenant in TENANTS:
        for n in range(100):
            index.remove(tenant, SubscriptionId(str(n)))
    assert index._topics == {}
    assert index._subscriptions == {}


@pytest.fixture
def about(topic: Topics) -> Topic:
    return topic(
        resource_triggers=(ResourceTrigger(OBSERVATION, EVERY),),
        filters=tuple(map(FilterDefinition, ("patient", "code", "value-quantity", "date", "status"))),
    )


def observed(**state: Any) -> Change:
    body = json.dumps({"resourceType": OBSERVATION, "id": "o", **state}).encode()
    key = VersionKey(DEFAULT_TENANT, OBSERVATION, "o", 1)
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, Resource(body)), None)


def put(matcher: Matcher, topic: Topic, name: object, *filters: Filter) -> None:
    matcher.put(subscribed(str(name), DEFAULT_TENANT, Release.R4, *filters), topic)


def refile(index: IndexedMatcher) -> None:
    while index.refile():
        pass


def ids(matches: list[Match]) -> set[str]:
    return {match.subscription_id for match in matches}


def of(patient: object) -> Filter:
    return Filter("patient", f"Patient/{patient}")


def is_of(patient: object) -> dict[str, Any]:
    return {"subject": {"reference": f"Patient/{patient}"}}


def test_only_candidates_are_evaluated(about: Topic) -> None:
    """A filter that fails is a problem of the subscriptions that nothing else rules out."""
    naive, index = NaiveMatcher(CONTEXT), IndexedMatcher(CONTEXT)
    for matcher in (naive, index):
        put(matcher, about, "first", of(1), Filter("date", "ge2024"))
        put(matcher, about, "second", Filter("date", "ge2024"), of(2))
        assert matcher.match(observed(effectiveDateTime="soon", **is_of(1))) == []
    assert {problem.subscription_id for problem in naive.drain_problems()} == {"first", "second"}
    assert {problem.subscription_id for problem in index.drain_problems()} == {"first"}


def test_a_chain_that_never_passes_takes_no_other_of_its_parameter_with_it(about: Topic) -> None:
    """A family name takes no comparator."""
    naive, index = NaiveMatcher(CONTEXT), IndexedMatcher(CONTEXT)
    change = observed(**is_of(1))
    text = Resource(b'{"resourceType":"Patient","id":"1","name":[{"family":"Ana"}]}')
    key = VersionKey(DEFAULT_TENANT, "Patient", "1", 1)
    patient = Version(key, Release.R4, Interaction.CREATE, 0, text)
    for matcher in (naive, index):
        put(matcher, about, "never", Filter("patient.family", "Ana", Comparator.GE))
        put(matcher, about, "found", Filter("patient.family", "Ana"))
        assert matcher.needs(change) == {("Patient", "1")}
        assert ids(matcher.match(change, {("Patient", "1"): patient})) == {"found"}


def test_thresholds_under_one_code_are_found_by_order(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    for n in range(100):
        put(index, about, n, Filter("code", f"{LOINC}|8867-4"), Filter("value-quantity", f"gt{n}"))
    code = {"coding": [{"system": LOINC, "code": "8867-4"}]}
    assert ids(index.match(observed(code=code, valueQuantity={"value": 3}))) == {"0", "1", "2"}
    assert ids(index.match(observed(code=code, valueQuantity={"value": 0}))) == set()
    assert len(index.match(observed(code=code, valueQuantity={"value": 99.5}))) == 100
    for n in range(99):
        index.remove(DEFAULT_TENANT, SubscriptionId(str(n)))
    assert ids(index.match(observed(code=code, valueQuantity={"value": 100}))) == {"99"}


def test_subscriptions_are_filed_by_the_most_selective_key(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    for n in range(50):
        put(index, about, n, Filter("status", "final"), of(n))
    (root,) = index._topics[about.canonical].types[OBSERVATION][Release.R4].roots.values()
    assert [channel.name for channel in root.by_key] == ["patient"]
    assert ids(index.match(observed(status="final", **is_of(7)))) == {"7"}
    assert index.match(observed(status="amended", **is_of(7))) == []


def test_a_filter_with_alternatives_is_found_by_each_and_once(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, about, "both", Filter("patient", "Patient/1,Patient/2"))
    assert ids(index.match(observed(**is_of(1)))) == {"both"}
    assert ids(index.match(observed(**is_of(2)))) == {"both"}
    put(index, about, "codes", Filter("code", "a,b"))
    codes = [{"system": "s", "code": "a"}, {"system": "s", "code": "b"}]
    assert len(index.match(observed(code={"coding": codes}))) == 1
    index.remove(DEFAULT_TENANT, SubscriptionId("both"))
    assert index.match(observed(**is_of(2))) == []


def test_a_changed_topic_files_its_subscriptions_again(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, about, "s", of(1))
    assert index.match(observed(**is_of(1)))
    elsewhere = replace(about, filters=(FilterDefinition("patient", "Encounter"),))
    put(index, elsewhere, "other", of(2))
    assert ids(index.match(observed(**is_of(9)))) == {"other"}, "the filter of s is of the old content"
    refile(index)
    assert ids(index.match(observed(**is_of(9)))) == {"s", "other"}


def test_a_removed_or_changed_subscription_is_not_found_by_the_old_content(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    for name in ("moved", "removed", "changed", "waits"):
        put(index, about, name, of(1))
    index.set_topic(replace(about, filters=about.filters[:1]))
    while ids(index.match(observed(**is_of(1)))) and len(index._outdated[0].leaving) > 1:
        assert index.refile()
        assert len(index.match(observed(**is_of(1)))) == 4, "each counts in one of both indexes"
    index.remove(DEFAULT_TENANT, SubscriptionId("removed"))
    put(index, index._topics[about.canonical].topic, "changed", of(2))
    assert ids(index.match(observed(**is_of(1)))) == {"moved", "waits"}
    refile(index)
    assert ids(index.match(observed(**is_of(1)))) == {"moved", "waits"}
    assert ids(index.match(observed(**is_of(2)))) == {"changed"}


def test_the_old_content_is_taken_apart_piece_by_piece(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    shared = (of(0), Filter("status", "final"), Filter("value-quantity", "5", Comparator.GT))
    for n in range(40):
        put(index, about, n, *shared[: n % 4], Filter("code", str(n)))
    index.set_topic(replace(about, filters=about.filters[:-1]))
    roots = [
        root
        for by_release in index._topics_of(observed())[-1].types.values()
        for type_index in by_release.values()
        for root in type_index.roots.values()
    ]
    steps = 0
    while index.refile():
        steps += 1
    assert steps > 40 + 40, "each subscription moves, and each posting is freed"
    assert not index._outdated
    assert not index._remains
    assert all(not any(root.by_key.values()) and not root.rest.groups for root in roots)


def test_the_index_of_a_type_can_be_built_in_steps_before_its_first_change(topic: Topics) -> None:
    index = IndexedMatcher(CONTEXT)
    every = topic(resource_triggers=(ResourceTrigger("Resource", EVERY),))
    for n in range(5):
        put(index, every, n, of(n))
    change = observed(**is_of(1))
    assert len(list(index.prepare(change))) == 5
    assert list(index.prepare(change)) == []
    put(index, every, 5, of(1))
    assert ids(index.match(change)) == {"1", "5"}


def test_a_topic_about_every_type_finds_its_subscriptions_for_a_type_that_arrives_later(
    topic: Topics,
) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, topic(resource_triggers=(ResourceTrigger("Resource", EVERY),)), "s", of(1))
    assert ids(index.match(observed(**is_of(1)))) == {"s"}
    assert index.match(observed(**is_of(2))) == []


def test_the_previous_state_is_decoded_only_if_criteria_use_it(topic: Topics) -> None:
    index = IndexedMatcher(CONTEXT)
    current = ResourceTrigger(OBSERVATION, EVERY, QueryCriteria(current="status=final"))
    put(index, topic(resource_triggers=(current,)), "s")
    now = observed(status="final").current._replace(interaction=Interaction.UPDATE)
    unreadable = now._replace(resource=Resource(b"{"))
    assert index.match(Change("1-0", 0, now, unreadable))
