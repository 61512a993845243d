"""Checks that a derived topic keeps what its parent offers (R-014).

A client that knows the parent topic can use the derived topic: it has the same resource types, and every
filter of the parent with all its comparators and modifiers.
"""

from collections.abc import Callable, Iterator

from broker.matching.problems import TopicProblem
from broker.model.topic import FilterDefinition, Topic


def check_derivation(topic: Topic, resolve: Callable[[str], Topic | None]) -> Iterator[TopicProblem]:
    """`resolve` finds a topic by `url` or `url|version`. A parent that it does not find is a warning."""
    for canonical in topic.derived_from:
        parent = resolve(canonical)
        if parent is None:
            text = f"derived from {canonical}: that topic is not loaded, so the derivation is not checked"
            yield TopicProblem(text, is_error=False)
        elif parent.canonical == topic.canonical:
            yield TopicProblem(f"derived from {canonical}: a topic can't derive from itself")
        else:
            for difference in _differences(topic, parent):
                yield TopicProblem(f"derived from {canonical}: {difference}")


def _differences(topic: Topic, parent: Topic) -> Iterator[str]:
    if topic.focus_types != parent.focus_types:
        yield f"changes the resource from {_listed(parent.focus_types)} to {_listed(topic.focus_types)}"
        return
    for parent_filter in parent.filters:
        counterparts = [definition for definition in topic.filters if _covers(definition, parent_filter)]
        name = f"the filter {parent_filter.parameter}"
        if not counterparts:
            of_type = f" of {parent_filter.resource}" if parent_filter.resource else ""
            yield f"lacks {name}{of_type}"
            continue
        comparators = parent_filter.comparators.difference(*(each.comparators for each in counterparts))
        modifiers = parent_filter.modifiers.difference(*(each.modifiers for each in counterparts))
        if comparators:
            yield f"{name} lacks the comparator {_listed(comparators)}"
        if modifiers:
            yield f"{name} lacks the modifier {_listed(modifiers)}"


def _covers(definition: FilterDefinition, parent_filter: FilterDefinition) -> bool:
    is_same_type = definition.resource is None or definition.resource == parent_filter.resource
    return is_same_type and definition.parameter == parent_filter.parameter


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
