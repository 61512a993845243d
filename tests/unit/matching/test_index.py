"""The index finds what the naive matcher finds, whatever is put, removed and changed; it keeps little and looks at little."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from broker.fhir.parameters import Parameters
from broker.matching.context import SearchContext
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Match, Matcher
from broker.matching.naive import NaiveMatcher
from broker.matching.states import Related
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.search import Filter
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
CONTEXT = SearchContext(Parameters())


def told(matches: list[Match]) -> list[tuple[str, str, str]]:
    return sorted((one.tenant, one.subscription_id, one.topic_canonical) for one in matches)


def meet(naive: Matcher, index: Matcher, change: Change, stored: Related) -> None:
    wanted = index.needs(change)
    assert wanted >= naive.needs(change)
    related = {target: version for target, version in stored.items() if target in wanted}
    expected = told(naive.match(change, related))
    assert told(index.match(change, related)) == expected
    problems = [{one for one in some.drain_problems() if one.subscription_id} for some in (naive, index)]
    assert problems[1] - problems[0] == set()
    event("some match" if expected else "none match")


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink))
@given(
    st.lists(topics(), min_size=3, max_size=5),
    operations,
    st.tuples(*(versions("Patient", Interaction.CREATE, DEFAULT_TENANT) for _ in range(2))),
)
def test_the_index_finds_what_the_naive_matcher_finds(
    some_topics: list[Topic], steps: list[Any], patients: tuple[Version, Version]
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
                one = subscribed(str(first + n), tenant, release, *shared, *own[n % len(own)])
                naive.put(one, some_topics[topic])
                index.put(one, some_topics[topic])
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
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, body), None)


def put(matcher: Matcher, topic: Topic, name: object, *wanted: Filter) -> None:
    matcher.put(subscribed(str(name), DEFAULT_TENANT, Release.R4, *wanted), topic)


def ids(matches: list[Match]) -> set[str]:
    return {match.subscription_id for match in matches}


def of(patient: object) -> Filter:
    return Filter("patient", f"Patient/{patient}")


def is_of(patient: object) -> dict[str, Any]:
    return {"subject": {"reference": f"Patient/{patient}"}}


def test_only_what_the_focus_says_is_evaluated(about: Topic) -> None:
    """A filter that fails is a problem of the subscriptions that nothing else rules out."""
    naive, index = NaiveMatcher(CONTEXT), IndexedMatcher(CONTEXT)
    for matcher in (naive, index):
        put(matcher, about, "one", of(1), Filter("date", "ge2024"))
        put(matcher, about, "two", Filter("date", "ge2024"), of(2))
        assert matcher.match(observed(effectiveDateTime="soon", **is_of(1))) == []
    assert {one.subscription_id for one in naive.drain_problems()} == {"one", "two"}
    assert {one.subscription_id for one in index.drain_problems()} == {"one"}


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


def test_subscriptions_are_filed_by_what_fewest_foci_say(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    for n in range(50):
        put(index, about, n, Filter("status", "final"), of(n))
    (root,) = index._topics[about.canonical].types[OBSERVATION].roots.values()
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


def test_a_topic_put_again_with_another_meaning_files_its_subscriptions_again(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, about, "s", of(1))
    assert index.match(observed(**is_of(1)))
    elsewhere = replace(about, filters=(FilterDefinition("patient", "Encounter"),))
    put(index, elsewhere, "other", of(2))
    assert ids(index.match(observed(**is_of(9)))) == {"s", "other"}


def test_a_topic_about_every_type_finds_its_subscriptions_for_a_type_it_meets_later(topic: Topics) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, topic(resource_triggers=(ResourceTrigger("Resource", EVERY),)), "s", of(1))
    assert ids(index.match(observed(**is_of(1)))) == {"s"}
    assert index.match(observed(**is_of(2))) == []


def test_the_previous_state_is_read_only_where_criteria_ask_for_it(topic: Topics) -> None:
    index = IndexedMatcher(CONTEXT)
    current = ResourceTrigger(OBSERVATION, EVERY, QueryCriteria(current="status=final"))
    put(index, topic(resource_triggers=(current,)), "s")
    now = observed(status="final").current._replace(interaction=Interaction.UPDATE)
    unreadable = now._replace(body=b"{")
    assert index.match(Change("1-0", 0, now, unreadable))
