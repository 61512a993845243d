"""What a topic that derives from another must keep (R-014).

A client that knows the parent can use the child: same base resources, and every filter with all that it offered.
"""

from collections.abc import Callable, Iterator

from broker.model.topic import FilterDefinition, Topic


def check_derivation(topic: Topic, resolve: Callable[[str], Topic | None]) -> tuple[list[str], list[str]]:
    """Errors and warnings. `resolve` finds a topic by `url` or `url|version`; a parent it doesn't know is a warning."""
    errors: list[str] = []
    warnings: list[str] = []
    for canonical in topic.derived_from:
        parent = resolve(canonical)
        if parent is None:
            warnings.append(f"derivedFrom {canonical}: no such topic here, what it asks for is not checked")
        elif parent.canonical == topic.canonical:
            errors.append(f"derivedFrom {canonical}: a topic can't derive from itself")
        else:
            errors += [f"derivedFrom {canonical}: {reason}" for reason in _broken_promises(topic, parent)]
    return errors, warnings


def _broken_promises(topic: Topic, parent: Topic) -> Iterator[str]:
    if topic.focus_types != parent.focus_types:
        yield f"changes the resource from {_listed(parent.focus_types)} to {_listed(topic.focus_types)}"
        return
    for promised in parent.filters:
        kept = [
            one for one in topic.filters if one.parameter == promised.parameter and _covers(one, promised)
        ]
        name = f"canFilterBy {promised.parameter}"
        if not kept:
            of_type = f" of {promised.resource}" if promised.resource else ""
            yield f"drops {name}{of_type}"
            continue
        comparators = promised.comparators - frozenset[str]().union(*(one.comparators for one in kept))
        modifiers = promised.modifiers - frozenset[str]().union(*(one.modifiers for one in kept))
        if comparators:
            yield f"{name} drops the comparator {_listed(comparators)}"
        if modifiers:
            yield f"{name} drops the modifier {_listed(modifiers)}"


def _covers(kept: FilterDefinition, promised: FilterDefinition) -> bool:
    return kept.resource is None or kept.resource == promised.resource


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
