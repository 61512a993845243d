"""The notification shapes of topics, compiled to the references that notifications include (R-070..R-073).

This module does not read the store. `NotificationShapes` names the resources to include, and the parameters
by which resources that refer to the focus are found. `ReverseReferences` finds, at intake, the references by
which a resource will be found. Directives that a shape adds to an inclusion (`&iterate=…`) are ignored; the
inclusion itself is kept (R-072). Several shapes for one type add up.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from broker.errors import BrokerError
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE
from broker.matching.paths import ValueExtractor, compile_values
from broker.matching.references import normal_reference, reference_targets, reference_text
from broker.matching.states import Target, filtered_version, state_of
from broker.model.change import Change
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import ParameterType
from broker.model.topic import NotificationShape, Topic

_INCLUSION = re.compile(r"([A-Z][A-Za-z]*):([a-z_][A-Za-z0-9_-]*)(?::([A-Z][A-Za-z]*))?")
_REFERENCE = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})")


class Inclusion(NamedTuple):
    """`Encounter:patient:Patient`: the references of a parameter of the source type, limited to one target
    type if given.
    """

    source: str
    parameter: str
    target: str | None = None


def parse_inclusion(text: str) -> Inclusion | None:
    """None for anything but an inclusion of one parameter, such as `*`."""
    inclusion = _INCLUSION.fullmatch(text.strip().partition("&")[0])
    return None if inclusion is None else Inclusion(inclusion[1], inclusion[2], inclusion[3])


class NotificationShapes:
    """The notification shapes of one topic."""

    def __init__(self, topic: Topic, context: SearchContext) -> None:
        self.topic = topic
        self._context = context
        self._includes: dict[str, tuple[Inclusion, ...]] = {}
        self._referrers: dict[str, tuple[tuple[str, str], ...]] = {}

    def includes(self, change: Change) -> tuple[Target, ...]:
        """The resources to which the focus refers and that its shape includes; after a deletion, those it
        referred to.

        In the order of the shape, each once, whether they are stored or not.
        """
        key = change.current.key
        inclusions = self._includes.get(key.type)
        if inclusions is None:
            inclusions = self._includes[key.type] = tuple(
                inclusion
                for inclusion in self._inclusions(key.type, "include")
                if inclusion.source == key.type
            )
        version = filtered_version(change)
        if not inclusions or version is None:
            return ()
        targets = _references(state_of(version), version.release, inclusions, self._context)
        return tuple(dict.fromkeys(target for _, target in targets if target != (key.type, key.id)))

    def referrers(self, focus_type: str) -> tuple[tuple[str, str], ...]:
        """Type and parameter of the resources that are included because they refer to a focus of the type."""
        referrers = self._referrers.get(focus_type)
        if referrers is None:
            referrers = self._referrers[focus_type] = tuple(
                dict.fromkeys(
                    (inclusion.source, inclusion.parameter)
                    for inclusion in self._inclusions(focus_type, "rev_include")
                    if inclusion.target in {None, focus_type}
                )
            )
        return referrers

    def _inclusions(self, focus_type: str, direction: str) -> Iterator[Inclusion]:
        for shape in self.topic.shapes:
            if shape.resource in {focus_type, ANY_TYPE}:
                yield from _parsed(shape, direction)


class ReverseReferences:
    """Finds the references by which the loaded topics look for a resource. The store indexes only those.

    A topic does not find resources that were accepted before the topic asked for their type, until they are
    written again.
    """

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._inclusions: dict[str, tuple[Inclusion, ...]] = {}

    def set_topics(self, topics: Iterable[Topic]) -> None:
        """Replaces the inclusions by those that these topics' shapes name."""
        inclusions: dict[str, dict[Inclusion, None]] = {}
        for topic in topics:
            for shape in topic.shapes:
                for inclusion in _parsed(shape, "rev_include"):
                    untargeted = Inclusion(inclusion.source, inclusion.parameter)
                    inclusions.setdefault(inclusion.source, {})[untargeted] = None
        self._inclusions = {source: tuple(each) for source, each in inclusions.items()}

    def references(
        self, release: Release, resource_type: str, resource: Resource
    ) -> tuple[tuple[str, str], ...]:
        """Pairs of a parameter and the `Type/id` that the resource refers to by it."""
        inclusions = self._inclusions.get(resource_type)
        if not inclusions:
            return ()
        references = _references(resource.copy(), release, inclusions, self._context)
        return tuple(dict.fromkeys((parameter, "/".join(target)) for parameter, target in references))


def _parsed(shape: NotificationShape, direction: str) -> Iterator[Inclusion]:
    for text in shape.include if direction == "include" else shape.rev_include:
        inclusion = parse_inclusion(text)
        if inclusion is not None:
            yield inclusion


@lru_cache(maxsize=1024)
def _reference_values(
    context: SearchContext, release: Release, inclusion: Inclusion
) -> tuple[tuple[str, ...], ValueExtractor] | None:
    """The target types of an inclusion, and the function that selects its references; None if it has no
    references.
    """
    parameter = context.parameters.find(release, inclusion.source, inclusion.parameter)
    if parameter is None or parameter.type is not ParameterType.REFERENCE:
        return None
    try:
        return reference_targets(parameter), compile_values(parameter.expression, release)
    except BrokerError:
        return None


def _references(
    state: dict[str, object] | None,
    release: Release,
    inclusions: Iterable[Inclusion],
    context: SearchContext,
) -> Iterator[tuple[str, Target]]:
    """The references to resources of this broker, by parameter. A reference that can't be read is ignored."""
    for inclusion in inclusions:
        reference_values = _reference_values(context, release, inclusion)
        if state is None or reference_values is None:
            continue
        types, values = reference_values
        try:
            texts = [reference_text(value) for value in values(state)]
        except (BrokerError, ValueError, TypeError, AttributeError, LookupError):
            continue
        for text in texts:
            local = _REFERENCE.fullmatch(normal_reference(text, context.base_urls)) if text else None
            if (
                local is not None
                and (not types or local[1] in types)
                and inclusion.target in {None, local[1]}
            ):
                yield inclusion.parameter, (local[1], local[2])
