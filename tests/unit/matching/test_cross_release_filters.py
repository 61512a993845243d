"""Every search parameter of the convertible types, for every release of producer and subscriber."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.fhir.validation import validate
from broker.matching.context import SearchContext
from broker.matching.explain import explain
from broker.matching.index import IndexedMatcher
from broker.matching.naive import NaiveMatcher
from broker.matching.registration import check_filters
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter
from broker.model.subscription import Subscription
from broker.model.topic import FilterDefinition, ResourceTrigger, Topic
from tests.unit.matching.cross_release_cases import REFUSED, ROWS, Row
from tests.unit.matching.cross_release_documents import DOCUMENTS, OTHERS

CONTEXT = SearchContext(SearchParameters())
CONVERTIBLE = sorted(OTHERS)


@cache
def change_of(name: str, release: Release) -> Change:
    pair = OTHERS.get(name) or DOCUMENTS[name]
    document: dict[str, Any] = pair[release is Release.R5]
    key = VersionKey(DEFAULT_TENANT, document["resourceType"], document["id"], 1)
    resource = Resource(json.dumps(document).encode())
    return Change("1-0", 0, Version(key, release, Interaction.CREATE, 0, resource), None)


def is_seen(row: Row, producer: Release, reader: Release) -> bool:
    is_own = (producer is Release.R5) is (reader is Release.R5)
    return is_own or row.seen_by == "all" or (row.seen_by == "down" and producer is Release.R5)


@pytest.fixture
def offering(topic: Callable[..., Topic]) -> Callable[[str, str], Topic]:
    """Builds a topic about a type that offers one filter."""

    def build(resource_type: str, parameter: str) -> Topic:
        return topic(
            resource_triggers=(ResourceTrigger(resource_type, frozenset(Interaction)),),
            filters=(FilterDefinition(parameter, None, frozenset(Comparator), frozenset({"not"})),),
        )

    return build


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize("name", [*DOCUMENTS, *OTHERS])
def test_the_resources_are_valid(name: str, release: Release) -> None:
    current = change_of(name, release).current
    assert current.resource is not None
    validate(release, current.key.type, current.resource)


@pytest.mark.parametrize("resource_type", CONVERTIBLE)
def test_every_parameter_has_a_row(resource_type: str) -> None:
    for release in Release:
        rows = {
            row.parameter
            for row in ROWS
            if row.resource_type == resource_type
            and (row.r5 if release is Release.R5 else row.r4) is not None
        }
        refused = {code for refused_type, code in REFUSED if refused_type == resource_type}
        missing = SearchParameters().codes(release, resource_type) ^ rows
        assert missing <= refused, release


@pytest.mark.parametrize("reader", list(Release))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.resource_type}-{row.parameter}-{row.document}")
def test_a_filter_is_judged_in_the_release_of_its_subscriber(
    row: Row,
    reader: Release,
    offering: Callable[[str, str], Topic],
    subscription: Callable[..., Subscription],
) -> None:
    """A filter passes by the value that the subscriber sees, and by nothing else; `explain` says the same."""
    about = offering(row.resource_type, row.parameter)
    value = row.r5 if reader is Release.R5 else row.r4
    if value is None:
        (problem,) = check_filters(subscription(Filter(row.parameter, "x"), release=reader), about, CONTEXT)
        assert f"no search parameter {row.parameter} in {reader}" in problem.text
        return
    subscribed = subscription(Filter(row.parameter, value), release=reader)
    assert check_filters(subscribed, about, CONTEXT) == []
    naive, index = NaiveMatcher(CONTEXT), IndexedMatcher(CONTEXT)
    for matcher in (naive, index):
        matcher.put(subscribed, about)
    for producer in Release:
        for name, expected in ((row.document, is_seen(row, producer, reader)), (row.resource_type, False)):
            change = change_of(name, producer)
            assert bool(naive.match(change)) is expected, (name, producer)
            assert bool(index.match(change)) is expected, (name, producer)
            assert explain(subscribed, about, change, CONTEXT).matches is expected, (name, producer)
    assert not naive.drain_problems()
    assert not index.drain_problems()


@pytest.mark.parametrize(("resource_type", "parameter"), sorted(REFUSED))
@pytest.mark.parametrize("reader", list(Release))
def test_a_parameter_that_finds_nothing_is_refused(
    resource_type: str,
    parameter: str,
    reader: Release,
    offering: Callable[[str, str], Topic],
    subscription: Callable[..., Subscription],
) -> None:
    about = offering(resource_type, parameter)
    assert check_filters(subscription(Filter(parameter, "x"), release=reader), about, CONTEXT)
