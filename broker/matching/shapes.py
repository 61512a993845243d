"""What goes with notifications about a focus: a topic's notificationShape, read into references to follow (R-070..R-073).

Nothing is fetched here: `Shapes` names targets and says by which parameters referrers are to be found; `Referring` finds, when
a resource is taken in, the references by which it will be looked for. Directives a shape adds (`&iterate=…`) are passed over,
the inclusion itself is kept (R-072). Several shapes for one type add up.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from broker.errors import BrokerError
from broker.matching.definitions import ANY_TYPE
from broker.matching.paths import Values, compile_values
from broker.matching.references import normal_reference, reference_targets, reference_text
from broker.matching.states import Target, state_of
from broker.model.change import Change, Interaction
from broker.model.release import Release
from broker.model.search import ParameterTable, ParameterType
from broker.model.topic import NotificationShape, Topic

_INCLUSION = re.compile(r"([A-Z][A-Za-z]*):([a-z_][A-Za-z0-9_-]*)(?::([A-Z][A-Za-z]*))?")
_REFERENCE = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})")
_decode = msgspec.json.Decoder(dict[str, object]).decode


class Inclusion(NamedTuple):
    """`Encounter:patient:Patient`: the parameter of the source whose references are followed, and to which type only."""

    source: str
    parameter: str
    target: str | None = None


def parse_inclusion(text: str) -> Inclusion | None:
    """None for what is no inclusion of one parameter (`*` among them)."""
    found = _INCLUSION.fullmatch(text.strip().partition("&")[0])
    return None if found is None else Inclusion(found[1], found[2], found[3])


class Shapes:
    """The notificationShapes of one topic."""

    def __init__(self, topic: Topic, table: ParameterTable, base_urls: frozenset[str] = frozenset()) -> None:
        self.topic = topic
        self._table = table
        self._base_urls = base_urls
        self._wanted: dict[str, tuple[Inclusion, ...]] = {}
        self._referrers: dict[str, tuple[tuple[str, str], ...]] = {}

    def includes(self, change: Change) -> tuple[Target, ...]:
        """The resources the focus refers to by the parameters its shape includes; after a deletion, what it referred to.

        In the order of the shape, each once, whether they are stored or not.
        """
        key = change.current.key
        wanted = self._wanted.get(key.type)
        if wanted is None:
            found_for = self._inclusions(key.type, "include")
            wanted = self._wanted[key.type] = tuple(one for one in found_for if one.source == key.type)
        is_gone = change.interaction is Interaction.DELETE and not change.events
        version = change.previous if is_gone else change.current
        if not wanted or version is None:
            return ()
        found = _found(state_of(version), version.release, wanted, self._table, self._base_urls)
        return tuple(dict.fromkeys(target for _, target in found if target != (key.type, key.id)))

    def referrers(self, focus_type: str) -> tuple[tuple[str, str], ...]:
        """Type and parameter of what refers to a focus of the type and is to go with it."""
        known = self._referrers.get(focus_type)
        if known is None:
            known = self._referrers[focus_type] = tuple(
                dict.fromkeys(
                    (one.source, one.parameter)
                    for one in self._inclusions(focus_type, "rev_include")
                    if one.target in {None, focus_type}
                )
            )
        return known

    def _inclusions(self, focus_type: str, direction: str) -> Iterator[Inclusion]:
        for shape in self.topic.shapes:
            if shape.resource in {focus_type, ANY_TYPE}:
                yield from _parsed(shape, direction)


class Referring:
    """Finds the references by which loaded topics will look for a resource; only those are kept in the index.

    What was taken in before a topic asked for its type is not found by that topic until it is written again.
    """

    def __init__(self, table: ParameterTable, base_urls: frozenset[str] = frozenset()) -> None:
        self._table = table
        self._base_urls = base_urls
        self._wanted: dict[str, tuple[Inclusion, ...]] = {}

    def follow(self, topics: Iterable[Topic]) -> None:
        """From now on, by what these topics' revIncludes name."""
        wanted: dict[str, dict[Inclusion, None]] = {}
        for topic in topics:
            for shape in topic.shapes:
                for one in _parsed(shape, "rev_include"):
                    wanted.setdefault(one.source, {})[Inclusion(one.source, one.parameter)] = None
        self._wanted = {source: tuple(some) for source, some in wanted.items()}

    def references(self, release: Release, resource_type: str, body: bytes) -> tuple[tuple[str, str], ...]:
        """Parameter, and the `Type/id` it refers to."""
        wanted = self._wanted.get(resource_type)
        if not wanted:
            return ()
        found = _found(_decode(body), release, wanted, self._table, self._base_urls)
        return tuple(dict.fromkeys((parameter, "/".join(target)) for parameter, target in found))


def _parsed(shape: NotificationShape, direction: str) -> Iterator[Inclusion]:
    for text in shape.include if direction == "include" else shape.rev_include:
        one = parse_inclusion(text)
        if one is not None:
            yield one


@lru_cache(maxsize=1024)
def _follower(
    table: ParameterTable, release: Release, one: Inclusion
) -> tuple[tuple[str, ...], Values] | None:
    """The types of target of an inclusion, and what takes its references out of a resource; None where it follows nothing."""
    parameter = table.find(release, one.source, one.parameter)
    if parameter is None or parameter.type is not ParameterType.REFERENCE:
        return None
    try:
        return reference_targets(parameter), compile_values(parameter.expression, release)
    except BrokerError:
        return None


def _found(
    state: dict[str, object] | None,
    release: Release,
    wanted: Iterable[Inclusion],
    table: ParameterTable,
    base_urls: frozenset[str],
) -> Iterator[tuple[str, Target]]:
    """References this broker may hold the target of, by parameter; what can't be read refers to nothing."""
    for one in wanted:
        follow = _follower(table, release, one)  # type: ignore[arg-type]  # a protocol is silent about hashing
        if state is None or follow is None:
            continue
        types, values = follow
        try:
            texts = [reference_text(value) for value in values(state)]
        except (BrokerError, ValueError, TypeError, AttributeError, LookupError):
            continue
        for text in texts:
            found = _REFERENCE.fullmatch(normal_reference(text, base_urls)) if text else None
            if found is not None and (not types or found[1] in types) and one.target in {None, found[1]}:
                yield one.parameter, (found[1], found[2])
