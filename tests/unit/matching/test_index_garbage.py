"""The index of subscriptions and the garbage collector (decision 240)."""

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.index import IndexedMatcher
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.topic import FilterDefinition, ResourceTrigger, Topic
from tests.unit.matching.drawn import OBSERVATION, subscribed

CONTEXT = SearchContext(SearchParameters())


@pytest.fixture
def about(topic: Callable[..., Topic]) -> Topic:
    return topic(
        resource_triggers=(ResourceTrigger(OBSERVATION, frozenset(Interaction)),),
        filters=(FilterDefinition("patient"),),
    )


@pytest.fixture
def no_collection() -> Iterator[None]:
    """The collector runs when the test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def put(index: IndexedMatcher, about: Topic, numbers: range) -> None:
    for n in numbers:
        patient = Filter("patient", f"Patient/{n}")
        index.put(subscribed(str(n), DEFAULT_TENANT, Release.R4, patient), about)


@pytest.mark.usefixtures("no_collection")
def test_the_collector_does_not_look_at_each_subscription(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, about, range(100))
    gc.collect()  # it forgets tuples of what it does not know
    before = len(gc.get_objects())
    put(index, about, range(100, 1_100))
    gc.collect()
    assert len(gc.get_objects()) - before < 100, "of 1,000 subscriptions"


def test_an_index_that_nobody_refers_to_is_freed(about: Topic) -> None:
    index = IndexedMatcher(CONTEXT)
    put(index, about, range(100))
    topic_index = weakref.ref(index._topics[about.canonical])
    del index
    gc.collect()
    assert topic_index() is None
