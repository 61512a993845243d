"""The planner finds the lookup predicates of filters, for foci of one type in one topic.

A predicate holds in every release of the focus. Where the releases disagree about a filter, the predicate has
the keys of all of them, and the filter is evaluated too.
"""

from collections.abc import Iterable
from typing import NamedTuple

from broker.errors import BrokerError
from broker.matching.chains import (
    Chain,
    ChainEnd,
    ChainResolver,
    chain_ends,
    chain_resolver,
    is_chained,
    read_chain,
)
from broker.matching.context import SearchContext
from broker.matching.definitions import find_parameter
from broker.matching.lookups import LookupChannel, Predicate
from broker.matching.predicates import LookupKey, PredicateDraft, PredicateKind, draft_predicates
from broker.matching.readers import ChainReader, Reader, reader_of
from broker.matching.references import reference_targets
from broker.matching.registration import filter_applies, sends
from broker.matching.support import unsupported
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Comparator, Component, Filter, SearchParameter
from broker.model.topic import Topic

_Shape = tuple[str, Comparator | None, str | None, str | None]
"""Parameter, comparator, modifier and type of a filter: they decide which search parameter it means, and
whether the end of a chain takes it.
"""


class _ReleaseMeaning(NamedTuple):
    """The search parameter that a filter means in one release; for a chain the reference, and what it may end
    in.
    """

    parameter: SearchParameter
    ends: tuple[ChainEnd, ...] | None = None

    @property
    def tested_parameters(self) -> list[SearchParameter]:
        return [self.parameter] if self.ends is None else [end.parameter for end in self.ends]


class _FilterMeaning(NamedTuple):
    """`distinct` has the essence of the tested parameters of each release; releases that agree are counted
    once.
    """

    applies: bool
    by_release: dict[Release, _ReleaseMeaning]
    distinct: tuple[tuple[SearchParameter, ...], ...]


class LookupPlanner:
    """For foci of one type in one topic. Topic and search parameters don't change during its life."""

    def __init__(self, topic: Topic, resource_type: str, context: SearchContext) -> None:
        self._topic = topic
        self._type = resource_type
        self._context = context
        self._parameters: dict[tuple[Release, str], SearchParameter | None] = {}
        self._meanings: dict[_Shape, _FilterMeaning] = {}
        self._channels: dict[tuple[tuple[str, str | None] | str, PredicateKind, int], LookupChannel] = {}

    def applicable(self, filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
        """The filters that foci of the type must pass (R-144)."""
        if all(self._meaning(filter_).applies for filter_ in filters):
            return filters
        return tuple(filter_ for filter_ in filters if self._meaning(filter_).applies)

    def sends(self, filters: tuple[Filter, ...]) -> bool:
        """Whether a subscription with these filters gets events about foci of the type."""
        return sends(filters, self._topic, self._type)

    def parameter(self, release: Release, name: str) -> SearchParameter | None:
        key = release, name
        if key not in self._parameters:
            self._parameters[key] = find_parameter(
                self._context.parameters, release, self._type, name, self._topic
            )
        return self._parameters[key]

    def predicates(self, filters: Iterable[Filter]) -> list[Predicate]:
        """At most one predicate per channel, so that removal finds what was added."""
        by_channel: dict[LookupChannel, Predicate] = {}
        for filter_ in filters:
            for predicate in self._predicates(filter_):
                by_channel.setdefault(predicate.channel, predicate)
        return list(by_channel.values())

    def resolver(self, filter_: Filter, release: Release) -> ChainResolver | None:
        """Names the targets of a chained filter, whatever its value is.

        None if the chain can't be followed.
        """
        meaning = self._meaning(filter_).by_release.get(release)
        if meaning is None or meaning.ends is None:
            return None
        return chain_resolver(meaning.parameter, meaning.ends, release, self._context)

    def lookup(self, filter_: Filter, release: Release) -> tuple[Reader, PredicateDraft] | None:
        """How to decide the filter by one lookup, in one release; None if that is not possible. Raises
        BrokerError.
        """
        meaning = self._meaning(filter_).by_release.get(release)
        if meaning is None or meaning.ends is not None:
            return None
        drafts = draft_predicates(filter_, meaning.parameter, self._context)
        if len(drafts) != 1 or not drafts[0].is_exact:
            return None
        return reader_of(meaning.parameter, drafts[0].kind, -1, release, self._context), drafts[0]

    def _predicates(self, filter_: Filter) -> Iterable[Predicate]:
        meaning = self._meaning(filter_)
        chain = read_chain(filter_) if is_chained(filter_) else None
        tested = filter_ if chain is None else chain.last
        if len(meaning.distinct) == 1 and len(meaning.distinct[0]) == 1:
            try:
                drafts = draft_predicates(tested, meaning.distinct[0][0], self._context)
            except BrokerError:
                return
        else:
            drafts = self._agreed_drafts(tested, meaning)
        if chain is not None and any(draft.threshold is not None or draft.component >= 0 for draft in drafts):
            return  # of a referenced resource, only whole keys are looked up
        for draft in drafts:
            channel = self._channel(filter_, meaning, draft)
            yield Predicate(channel, filter_, draft.is_exact, tuple(draft.keys), draft.threshold)

    def _agreed_drafts(self, tested: Filter, meaning: _FilterMeaning) -> tuple[PredicateDraft, ...]:
        """The drafts of all releases, and of all ends of a chain, merged."""
        alternatives: list[tuple[PredicateDraft, ...]] = []
        passes_everywhere = True
        for parameters in meaning.distinct:
            try:
                alternatives += [draft_predicates(tested, each, self._context) for each in parameters]
            except BrokerError:
                passes_everywhere = False  # the filter never passes in this release
        if not alternatives:
            return ()
        first = alternatives[0]
        if all(drafts == first for drafts in alternatives):
            return tuple(draft._replace(is_exact=draft.is_exact and passes_everywhere) for draft in first)
        shapes = {
            tuple((draft.kind, draft.component, draft.threshold) for draft in drafts)
            for drafts in alternatives
        }
        if len(shapes) != 1 or any(draft.threshold is not None for draft in first):
            return ()
        return tuple(
            draft._replace(
                is_exact=False,
                keys=frozenset[LookupKey]().union(*(drafts[index].keys for drafts in alternatives)),
            )
            for index, draft in enumerate(first)
        )

    def _meaning(self, filter_: Filter) -> _FilterMeaning:
        shape = filter_.parameter, filter_.comparator, filter_.modifier, filter_.resource_type
        meaning = self._meanings.get(shape)
        if meaning is None:
            meaning = self._meanings[shape] = self._find_meaning(filter_)
        return meaning

    def _find_meaning(self, filter_: Filter) -> _FilterMeaning:
        applies = filter_applies(filter_, self._topic, self._type)
        by_release: dict[Release, _ReleaseMeaning] = {}
        chain = read_chain(filter_) if is_chained(filter_) else None
        for release in Release if applies else ():
            parameter = self.parameter(release, filter_.parameter if chain is None else chain.link)
            if parameter is None:
                continue
            if not is_chained(filter_):
                by_release[release] = _ReleaseMeaning(parameter)
            elif chain is not None:
                ends = self._ends(chain, parameter)
                if ends:
                    by_release[release] = _ReleaseMeaning(parameter, ends)
        distinct = dict.fromkeys(
            tuple(dict.fromkeys(_essence(parameter) for parameter in meaning.tested_parameters))
            for meaning in by_release.values()
        )
        return _FilterMeaning(applies, by_release, tuple(distinct))

    def _ends(self, chain: Chain, reference: SearchParameter) -> tuple[ChainEnd, ...]:
        """Empty if the chain can't be compiled whatever its value is: then the filter never passes."""
        try:
            ends = chain_ends(chain, reference, self._context.parameters)
        except BadFilter:
            return ()
        if any(unsupported(chain.last, end.parameter) is not None for end in ends):
            return ()
        return ends

    def _channel(self, filter_: Filter, meaning: _FilterMeaning, draft: PredicateDraft) -> LookupChannel:
        """The channel, which all filters about the same parameter share."""
        name: tuple[str, str | None] | str = filter_.parameter
        if is_chained(filter_):
            name = filter_.parameter, filter_.modifier
        key = name, draft.kind, draft.component
        channel = self._channels.get(key)
        if channel is None:
            readers: dict[Release, Reader | None] = dict.fromkeys(Release)
            for release, release_meaning in meaning.by_release.items():
                readers[release] = self._reader(release_meaning, draft, release)
            channel = self._channels[key] = LookupChannel(str(name), draft.kind, readers)
        return channel

    def _reader(self, meaning: _ReleaseMeaning, draft: PredicateDraft, release: Release) -> Reader | None:
        """None if the expression can't be compiled, or the composite has other components: then nothing
        passes.
        """
        try:
            if meaning.ends is None:
                return reader_of(meaning.parameter, draft.kind, draft.component, release, self._context)
            return ChainReader(meaning.parameter, meaning.ends, draft.kind, release, self._context)
        except (BrokerError, IndexError):
            return None


def _essence(parameter: SearchParameter) -> SearchParameter:
    """All that lookups depend on, so that releases that only write the expression differently agree."""
    return SearchParameter(
        parameter.code,
        parameter.type,
        "_" if parameter.expression else "",
        reference_targets(parameter),
        tuple(Component("", component.type, "") for component in parameter.components),
    )
