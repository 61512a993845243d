"""Which look-ups a subscription's filters offer among foci of one type.

The look-ups hold in every release of the focus: where the releases disagree about a filter, it is looked up by what any of them
says and then evaluated.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from broker.errors import BrokerError
from broker.matching.chains import Chain, ChainTest, ends, is_chained, read_chain
from broker.matching.definitions import find_parameter
from broker.matching.filters import Test
from broker.matching.predicates import Draft, Key, Kind, Range, drafts
from broker.matching.readers import AnyReader, ChainReader, reader_of
from broker.matching.references import reference_targets
from broker.matching.registration import filter_applies
from broker.matching.support import unsupported
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Component, Filter, ParameterTable, SearchParameter
from broker.model.topic import Topic

_Shape = tuple[str, str | None, str | None]
"""All of a filter that tells which parameter it is about: name, modifier, type."""
_End = tuple[Release, str, SearchParameter]


class Channel:
    """One thing to read of a focus, by release; None where that release has no such parameter. Compared by identity."""

    __slots__ = ("cost", "name", "readers", "systems")

    def __init__(self, name: str, kind: Kind, readers: dict[Release, AnyReader | None]) -> None:
        self.name = name
        self.cost = int(kind)
        self.readers = readers
        self.systems: Counter[str] = Counter()
        """The systems of the keys looked up here: a code without one may match any of them."""


class Predicate(NamedTuple):
    """A filter can be looked up by any of the keys, or by the range."""

    channel: Channel
    wanted: Filter
    is_exact: bool
    keys: tuple[Key, ...]
    range: Range | None


class _Way(NamedTuple):
    """What a filter means in a release: of a chain, `ends` are what it may lead to."""

    parameter: SearchParameter
    ends: tuple[_End, ...] | None = None

    @property
    def parameters(self) -> list[SearchParameter]:
        return [self.parameter] if self.ends is None else [one for _, _, one in self.ends]


class _Meaning(NamedTuple):
    applies: bool
    ways: dict[Release, _Way]
    distinct: tuple[tuple[SearchParameter, ...], ...]
    """What look-ups depend on in each way, releases that agree counted once."""


class Planner:
    """For the foci of one type in one topic. The parameters don't change while it lives."""

    def __init__(
        self, topic: Topic, resource_type: str, table: ParameterTable, base_urls: frozenset[str]
    ) -> None:
        self._topic = topic
        self._type = resource_type
        self._table = table
        self._base_urls = base_urls
        self._parameters: dict[tuple[Release, str], SearchParameter | None] = {}
        self._meanings: dict[_Shape, _Meaning] = {}
        self._channels: dict[tuple[_Shape | str, Kind, int], Channel] = {}

    def applicable(self, filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
        """Those that foci of the type must pass (R-144)."""
        if all(self._meaning(one).applies for one in filters):
            return filters
        return tuple(one for one in filters if self._meaning(one).applies)

    def parameter(self, release: Release, name: str) -> SearchParameter | None:
        key = release, name
        if key not in self._parameters:
            self._parameters[key] = find_parameter(self._table, release, self._type, name, self._topic)
        return self._parameters[key]

    def predicates(self, filters: Iterable[Filter]) -> list[Predicate]:
        """At most one of each channel, so that what was filed is found again."""
        found: dict[Channel, Predicate] = {}
        for wanted in filters:
            for one in self._predicates(wanted):
                found.setdefault(one.channel, one)
        return list(found.values())

    @staticmethod
    def count(predicates: Iterable[Predicate], by: int) -> None:
        """Keeps the systems of the channels: 1 for a subscription that comes, -1 for one that goes."""
        for one in predicates:
            for key in one.keys:
                if isinstance(key, tuple):
                    one.channel.systems[key[0]] += by
                    if one.channel.systems[key[0]] <= 0:
                        del one.channel.systems[key[0]]

    def asker(self, wanted: Filter, release: Release) -> ChainTest | None:
        """What tells the targets of a chain, whatever its value; None for no chain that can be followed."""
        way = self._meaning(wanted).ways.get(release)
        if way is None or way.ends is None:
            return None
        tests: dict[tuple[Release, str], Test] = {(one, target): _never for one, target, _ in way.ends}
        return ChainTest(way.parameter, self._base_urls, release, tests)

    def lookup(self, wanted: Filter, release: Release) -> tuple[AnyReader, Draft] | None:
        """How to evaluate the filter by one look-up, in one release; None where that can't be. Raises BrokerError."""
        way = self._meaning(wanted).ways.get(release)
        if way is None or way.ends is not None:
            return None
        found = drafts(wanted, way.parameter, self._base_urls)
        if len(found) != 1 or not found[0].is_exact:
            return None
        return reader_of(way.parameter, found[0].kind, -1, release, self._base_urls), found[0]

    def _predicates(self, wanted: Filter) -> Iterable[Predicate]:
        meaning = self._meaning(wanted)
        chain = read_chain(wanted) if is_chained(wanted) else None
        last = wanted if chain is None else chain.last
        if len(meaning.distinct) == 1 and len(meaning.distinct[0]) == 1:
            try:
                found = _of_one(drafts(last, meaning.distinct[0][0], self._base_urls), chain)
            except BrokerError:
                return
        else:
            found = _of_one(self._agreed(last, meaning), chain)
        for draft in found:
            channel = self._channel(wanted, meaning, draft)
            if channel is not None:
                yield Predicate(channel, wanted, draft.is_exact, tuple(draft.keys), draft.range)

    def _agreed(self, last: Filter, meaning: _Meaning) -> tuple[Draft, ...]:
        """The look-ups of all releases, and of all ends of a chain, as one."""
        found: list[tuple[Draft, ...]] = []
        is_whole = True
        for parameters in meaning.distinct:
            try:
                found += [drafts(last, one, self._base_urls) for one in parameters]
            except BrokerError:
                is_whole = False  # there it never passes
        if not found:
            return ()
        first = found[0]
        if all(one == first for one in found):
            return tuple(one._replace(is_exact=one.is_exact and is_whole) for one in first)
        same = {tuple((one.kind, one.part, one.range) for one in some) for some in found}
        if len(same) != 1 or any(one.range is not None for one in first):
            return ()
        return tuple(
            one._replace(is_exact=False, keys=frozenset[Key]().union(*(some[n].keys for some in found)))
            for n, one in enumerate(first)
        )

    def _meaning(self, wanted: Filter) -> _Meaning:
        shape = wanted.parameter, wanted.modifier, wanted.resource_type
        meaning = self._meanings.get(shape)
        if meaning is None:
            meaning = self._meanings[shape] = self._find_meaning(wanted)
        return meaning

    def _find_meaning(self, wanted: Filter) -> _Meaning:
        applies = filter_applies(wanted, self._topic, self._type)
        ways: dict[Release, _Way] = {}
        chain = read_chain(wanted) if is_chained(wanted) else None
        for release in Release if applies else ():
            parameter = self.parameter(release, wanted.parameter if chain is None else chain.link)
            if parameter is None:
                continue
            if not is_chained(wanted):
                ways[release] = _Way(parameter)
            elif chain is not None:
                found = self._ends(chain, parameter)
                if found:
                    ways[release] = _Way(parameter, found)
        distinct: dict[tuple[SearchParameter, ...], None] = {}
        for way in ways.values():
            distinct[tuple(dict.fromkeys(_essence(one) for one in way.parameters))] = None
        return _Meaning(applies, ways, tuple(distinct))

    def _ends(self, chain: Chain, reference: SearchParameter) -> tuple[_End, ...]:
        """Empty where the chain can't be compiled, whatever its value: then it never passes."""
        try:
            found = ends(chain, reference, self._table)
        except BadFilter:
            return ()
        if any(unsupported(chain.last, parameter) is not None for _, _, parameter in found):
            return ()
        return tuple(found)

    def _channel(self, wanted: Filter, meaning: _Meaning, draft: Draft) -> Channel | None:
        """Shared by the filters that are about the same parameter. None where an expression can't be compiled."""
        of_chain = is_chained(wanted)
        name = (wanted.parameter, wanted.modifier, None) if of_chain else wanted.parameter
        key = name, draft.kind, draft.part
        channel = self._channels.get(key)
        if channel is None:
            readers: dict[Release, AnyReader | None] = dict.fromkeys(Release)
            for release, way in meaning.ways.items():
                readers[release] = self._reader(way, draft, release)
            channel = self._channels[key] = Channel(str(name), draft.kind, readers)
        return channel

    def _reader(self, way: _Way, draft: Draft, release: Release) -> AnyReader | None:
        try:
            if way.ends is None:
                return reader_of(way.parameter, draft.kind, draft.part, release, self._base_urls)
            return ChainReader(way.parameter, way.ends, draft.kind, release, self._base_urls)
        except (BrokerError, IndexError):  # a composite of other components
            return None  # nothing can pass there


def _essence(parameter: SearchParameter) -> SearchParameter:
    """All that look-ups depend on, so that releases which only write the expression otherwise agree."""
    return SearchParameter(
        parameter.code,
        parameter.type,
        "_" if parameter.expression else "",
        reference_targets(parameter),
        tuple(Component("", one.type, "") for one in parameter.components),
    )


def _of_one(found: tuple[Draft, ...], chain: Chain | None) -> tuple[Draft, ...]:
    """Of a resource that is referred to, only whole keys are looked up."""
    if chain is not None and any(one.range is not None or one.part >= 0 for one in found):
        return ()
    return found


def _never(_: object) -> bool:
    return False
