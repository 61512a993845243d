"""Chained filters are evaluated on the resource that the focus refers to."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from broker.matching.chains import offered_name, read_chain
from broker.matching.context import SearchContext
from broker.matching.naive import NaiveMatcher
from broker.matching.states import Target
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter
from broker.model.subscription import Subscription
from broker.model.topic import FilterDefinition, ResourceTrigger, Topic

Topics = Callable[..., Topic]
Subscriptions = Callable[..., Subscription]
PATIENT = ("Patient", "1")
FEMALE = {"active": True, "name": [{"family": "Núñez"}], "birthDate": "1980-05-01"}
OF_ONE = {"subject": {"reference": "Patient/1"}}


def version(
    kind: str, resource_id: str, body: dict[str, Any] | None, release: Release = Release.R4
) -> Version:
    interaction = Interaction.DELETE if body is None else Interaction.UPDATE
    text = None if body is None else json.dumps({"resourceType": kind, "id": resource_id, **body}).encode()
    return Version(
        VersionKey(DEFAULT_TENANT, kind, resource_id, 1),
        release,
        interaction,
        0,
        None if text is None else Resource(text),
    )


def change(body: dict[str, Any], kind: str = "Observation") -> Change:
    return Change("1-0", 0, version(kind, "o", body), None)


@pytest.fixture
def matcher(context: SearchContext) -> NaiveMatcher:
    return NaiveMatcher(context)


@pytest.fixture
def chained(topic: Topics) -> Topic:
    names = ("patient.family", "patient.active", "patient.birthdate", "subject.family", "subject.active")
    return topic(
        resource_triggers=(ResourceTrigger("Observation", frozenset(Interaction)),),
        filters=tuple(FilterDefinition(name) for name in names),
    )


@pytest.mark.parametrize(
    ("filter_", "name", "type_name", "last"),
    [
        (Filter("patient.family", "x"), "patient.family", None, Filter("family", "x")),
        (Filter("subject:Patient.family", "x"), "subject.family", "Patient", Filter("family", "x")),
        (
            Filter("subject", "x", modifier="Patient.family"),
            "subject.family",
            "Patient",
            Filter("family", "x"),
        ),
        (
            Filter("subject", "x", modifier="Patient.family:exact"),
            "subject.family",
            "Patient",
            Filter("family", "x", modifier="exact"),
        ),
        (
            Filter("patient.birthdate", "1980", comparator=Comparator.GE),
            "patient.birthdate",
            None,
            Filter("birthdate", "1980", comparator=Comparator.GE),
        ),
    ],
)
def test_a_chain_is_read_in_each_of_its_forms(
    filter_: Filter, name: str, type_name: str | None, last: Filter
) -> None:
    chain = read_chain(filter_)
    assert chain is not None
    assert (offered_name(filter_), chain.type, chain.last) == (name, type_name, last)


@pytest.mark.parametrize(
    "filter_", [Filter("patient", "x"), Filter("patient.", "x"), Filter("patient:exact.name", "x")]
)
def test_other_filters_are_not_read_as_chains(filter_: Filter) -> None:
    assert read_chain(filter_) is None


@pytest.mark.parametrize(
    ("filter_", "passes"),
    [
        (Filter("patient.family", "nun"), True),
        (Filter("patient.family", "Núñez", modifier="exact"), True),
        (Filter("patient.family", "other"), False),
        (Filter("patient.active", "true"), True),
        (Filter("patient.active", "true", modifier="not"), False),
        (Filter("patient.active", "true", modifier="missing"), False),
        (Filter("patient.birthdate", "ge1980"), True),
        (Filter("patient.birthdate", "1981", comparator=Comparator.LT), True),
        (Filter("subject", "nun", modifier="Patient.family"), True),
        (Filter("subject:Patient.family", "nun"), True),
        (Filter("subject.active", "true"), True),
    ],
)
def test_the_filter_is_evaluated_on_the_target(
    *, filter_: Filter, passes: bool, matcher: NaiveMatcher, chained: Topic, subscription: Subscriptions
) -> None:
    matcher.put(subscription(filter_), chained)
    about = change(OF_ONE)
    assert matcher.needs(about) == {PATIENT}
    assert bool(matcher.match(about, {PATIENT: version(*PATIENT, FEMALE)})) is passes
    assert matcher.drain_problems() == []


@pytest.mark.parametrize(
    ("body", "related", "needs", "word"),
    [
        (OF_ONE, {}, {PATIENT}, "Patient/1 is not stored"),
        (OF_ONE, {PATIENT: version(*PATIENT, None)}, {PATIENT}, "Patient/1 is not stored"),
        ({"subject": {"reference": "http://other/Patient/1"}}, {}, set(), "http://other/Patient/1"),
        ({"subject": {"reference": "Patient/a b"}}, {}, set(), "Patient/a b"),
        ({"subject": {"reference": "urn:uuid:1", "type": "Patient"}}, {}, set(), "urn:uuid:1"),
        (
            {"subject": {"type": "Patient", "identifier": {"value": "1"}}},
            {},
            set(),
            "the referenced resource",
        ),
    ],
)
def test_a_target_that_is_not_stored_fails_instead_of_passing(
    body: dict[str, Any],
    related: Mapping[Target, Version],
    needs: set[Target],
    word: str,
    matcher: NaiveMatcher,
    chained: Topic,
    subscription: Subscriptions,
) -> None:
    matcher.put(subscription(Filter("patient.active", "x", modifier="not")), chained)
    assert matcher.needs(change(body)) == needs
    assert matcher.match(change(body), related) == []
    (problem,) = matcher.drain_problems()
    assert word in str(problem)
    assert problem.subscription_id == "s"


@pytest.mark.parametrize("body", [{}, {"subject": {"reference": "Group/1"}}])
def test_without_a_matching_reference_the_filter_fails_without_a_problem(
    body: dict[str, Any], matcher: NaiveMatcher, chained: Topic, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("patient.active", "x", modifier="not")), chained)
    assert matcher.needs(change(body)) == set()
    assert matcher.match(change(body)) == []
    assert matcher.drain_problems() == []


def test_a_contained_target_needs_no_lookup(
    matcher: NaiveMatcher, chained: Topic, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("patient.active", "true")), chained)
    patient = {"resourceType": "Patient", "id": "p", "active": True}
    body = {"subject": {"reference": "#p"}, "contained": [patient]}
    assert matcher.needs(change(body)) == set()
    assert matcher.match(change(body))


@pytest.mark.parametrize("stored", list(Release))
@pytest.mark.parametrize("reader", list(Release))
def test_a_target_of_another_release_is_evaluated_in_the_release_of_the_subscriber(
    reader: Release,
    stored: Release,
    matcher: NaiveMatcher,
    chained: Topic,
    subscription: Subscriptions,
    table: Any,
) -> None:
    table.only["active"] = Release.R5
    matcher.put(subscription(Filter("patient.active", "true"), release=reader), chained)
    about = change({"subject": {"reference": "http://broker.example/r4/Patient/1/_history/3"}})
    matches = matcher.match(about, {PATIENT: version(*PATIENT, FEMALE, stored)})
    assert bool(matches) is (reader is Release.R5)


def test_nothing_is_needed_where_no_subscription_has_a_chain(
    matcher: NaiveMatcher, chained: Topic, subscription: Subscriptions
) -> None:
    matcher.put(subscription(), chained)
    broken = Version(
        VersionKey(DEFAULT_TENANT, "Observation", "o", 1), Release.R4, Interaction.CREATE, 0, Resource(b"{")
    )
    assert matcher.needs(Change("1-0", 0, broken, None)) == set()
    matcher.put(subscription(Filter("patient.active", "true")), chained)
    assert matcher.needs(Change("1-0", 0, broken, None)) == set()
    assert matcher.needs(change(OF_ONE)) == {PATIENT}
    assert matcher.needs(change(OF_ONE, "Encounter")) == set()
    matcher.put(subscription(Filter("patient.active", "true"), tenant=Tenant("other")), chained)
    matcher.remove(DEFAULT_TENANT, subscription().id)
    assert matcher.needs(change(OF_ONE)) == set()


def test_after_a_deletion_the_previous_state_refers_to_the_target(
    matcher: NaiveMatcher, chained: Topic, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("patient.active", "true")), chained)
    gone = Change("1-0", 0, version("Observation", "o", None), version("Observation", "o", OF_ONE))
    assert matcher.needs(gone) == {PATIENT}
    assert matcher.match(gone, {PATIENT: version(*PATIENT, FEMALE)})


def test_a_contained_list_that_cannot_be_read_makes_the_filter_not_evaluable(
    matcher: NaiveMatcher, chained: Topic, subscription: Subscriptions
) -> None:
    matcher.put(subscription(Filter("patient.active", "true")), chained)
    body = {"subject": {"reference": "#p", "type": "Patient"}, "contained": [None]}
    assert matcher.match(change(body)) == []
    (problem,) = matcher.drain_problems()
    assert problem.subscription_id == "s"
