"""A derived topic keeps what its parent offers."""

from collections.abc import Callable

import pytest

from broker.matching.derivation import check_derivation
from broker.model.change import Interaction
from broker.model.search import Comparator
from broker.model.topic import FilterDefinition, ResourceTrigger, Topic

Topics = Callable[..., Topic]
PARENT = "http://example.org/topics/parent"
OFFERS = (
    FilterDefinition("patient", modifiers=frozenset({"missing"})),
    FilterDefinition("date", "Encounter", frozenset({Comparator.GE, Comparator.LE})),
)


@pytest.mark.parametrize(
    ("offers", "word"),
    [
        (OFFERS, None),
        ((*OFFERS, FilterDefinition("status")), None),
        ((OFFERS[0], FilterDefinition("date", None, OFFERS[1].comparators)), None),
        (OFFERS[:1], "lacks the filter date of Encounter"),
        (
            (FilterDefinition("patient", "Encounter", modifiers=frozenset({"missing"})), OFFERS[1]),
            "lacks the filter patient",
        ),
        ((FilterDefinition("patient"), OFFERS[1]), "the filter patient lacks the modifier missing"),
        (
            (OFFERS[0], FilterDefinition("date", None, frozenset({Comparator.GE}))),
            "the filter date lacks the comparator le",
        ),
    ],
)
def test_a_derived_topic_must_keep_the_filters_of_its_parent(
    offers: tuple[FilterDefinition, ...], word: str | None, topic: Topics
) -> None:
    parent = topic(id="p", url=PARENT, filters=OFFERS)
    child = topic(derived_from=(f"{PARENT}|1.0",), filters=offers)
    problems = list(check_derivation(child, {parent.canonical: parent}.get))
    assert len(problems) == (word is not None)
    for problem in problems:
        assert problem.is_error
        assert PARENT in problem.text
        assert (word or "") in problem.text


def test_a_derived_topic_must_keep_the_resource_type(topic: Topics) -> None:
    parent = topic(id="p", url=PARENT)
    child = topic(
        derived_from=(PARENT,), resource_triggers=(ResourceTrigger("Patient", frozenset(Interaction)),)
    )
    (problem,) = check_derivation(child, lambda _: parent)
    assert problem.is_error
    assert "from Encounter to Patient" in problem.text


def test_an_unknown_parent_is_a_warning_and_deriving_from_itself_an_error(topic: Topics) -> None:
    child = topic(derived_from=("http://example.org/unknown",))
    (warning,) = check_derivation(child, lambda _: None)
    assert not warning.is_error
    assert "http://example.org/unknown" in warning.text
    (error,) = check_derivation(child, lambda _: child)
    assert error.is_error
    assert "itself" in error.text
