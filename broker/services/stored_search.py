"""Searches the stored resources of a type: plans, reads one page, and counts.

Each page is one of a snapshot (decision 290); the filters of the search and the restrictions of the
principal's scopes decide what is on it (decision 291).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker.errors import Gone, Issue
from broker.fhir.conversion import convert
from broker.matching.filters import Test
from broker.matching.problems import READ_ERRORS
from broker.matching.restrictions import Restrictions
from broker.matching.search_terms import ResourceIndexer, SetKind
from broker.matching.states import state_of
from broker.model.change import Tenant, Version
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.scopes import Alternatives, alternatives
from broker.model.search import Filter
from broker.services.search_candidates import (
    ListedCandidates,
    SortedCandidates,
    TiedCandidates,
    WayCandidates,
)
from broker.services.search_ids import named_ids
from broker.services.search_plan import IndexedType, Order, SecondKey, Way, choose, place, ways
from broker.services.snapshot_pages import (
    Direction,
    Position,
    SnapshotPage,
    SnapshotPageName,
    joined_score,
)
from broker.services.snapshot_reader import MAX_CANDIDATES, Candidates, Piece, SnapshotQuery, fill_page
from broker.store.resources import Resources
from broker.store.search_sets import SearchSets, SetRange, SnapshotTooOld

MAX_COUNTED = 100_000
"""Candidates that a total looks at; it is left out for more."""
_MIN_STEP, _COUNT_STEP = 20, 500
"""Candidates that are read at once: at least, and to count."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Match:
    """A version that is on the page, and its resource in the release of the base."""

    version: Version
    resource: Resource


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is searched for and in which order."""

    filters: Sequence[Filter]
    tests: Sequence[Test]
    order: Order = Order.MOMENT
    direction: Direction = field(default_factory=Direction)
    second: SecondKey | None = None


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The matches, and the name of the next page if there is one. `has_unconvertible`: there are resources
    that the release of the base cannot show.
    """

    matches: Sequence[Match]
    next: SnapshotPageName | None
    has_unconvertible: bool = False


class TypeSearch:
    """Searches of one type through one base, as a principal may see it."""

    def __init__(
        self, searched: IndexedType, resources: Resources, sets: SearchSets, restrictions: Restrictions
    ) -> None:
        self._searched = searched
        self._resources = resources
        self._sets = sets
        self._restrictions = restrictions

    async def page(
        self, principal: Principal, criteria: Criteria, name: SnapshotPageName, count: int
    ) -> FoundPage:
        """The page of about `count` matches. Raises `Gone` for a snapshot of which too much was changed, and
        `Unprocessable` where too many resources have the same value of the first key for the second.
        """
        page = SnapshotPage[Match](
            count,
            keeps_moments_whole=criteria.order is Order.MOMENT,
            is_joined=criteria.second is not None,
        )
        last, judge = await self._fill(principal, criteria, name, page, count)
        following = None if last is None else SnapshotPageName(name.moment_ms, last)
        return FoundPage(page.items, following, judge.has_unconvertible)

    async def total(self, principal: Principal, criteria: Criteria, moment_ms: int) -> int | None:
        """How many match; None if they are too many to count. Raises `Gone`."""
        if not criteria.tests and () in self._alternatives(principal):
            return await self._number_of_all(moment_ms)
        criteria = replace(criteria, second=None)
        page = SnapshotPage[Match](MAX_COUNTED + 1)
        name: SnapshotPageName | None = SnapshotPageName(moment_ms)
        for _ in range(MAX_COUNTED // MAX_CANDIDATES):
            assert name is not None  # noqa: S101 the loop ends with it
            last, _judge = await self._fill(principal, criteria, name, page, _COUNT_STEP)
            if last is None:
                return len(page.items)
            name = SnapshotPageName(moment_ms, last)
        return None

    async def estimate(self, principal: Principal, criteria: Criteria) -> int:
        """How many resources may match, as the indexes have it. Who may see only some of them gets no number
        that counts others.
        """
        if () not in self._alternatives(principal):
            moment_ms = await self._sets.snapshot()
            return await self.total(principal, criteria, moment_ms) or MAX_COUNTED
        ids = await named_ids(self._resources, principal.tenant, self._searched, criteria.filters)
        if ids is not None:
            return len(ids)
        counts = await self._counts(ways(self._searched, criteria.filters))
        return min(sum(map(sum, by_set)) for by_set in counts.values())

    async def _fill(
        self,
        principal: Principal,
        criteria: Criteria,
        name: SnapshotPageName,
        page: SnapshotPage[Match],
        count: int,
    ) -> tuple[Position | None, "_Judge"]:
        candidates = await self._candidates(principal.tenant, criteria, count)
        sources = candidates.sources
        allowed = self._alternatives(principal)
        judge = _Judge(self._searched, criteria, lambda version: self._restrictions.allow(allowed, version))
        read: Candidates = candidates
        if () not in allowed:
            read = _AsTheyAreNow(candidates, judge)
        query = SnapshotQuery(name.moment_ms, criteria.direction, judge)
        try:
            return await fill_page(query, read, page, sources, name.after, step=max(count, _MIN_STEP)), judge
        except SnapshotTooOld:
            raise too_old() from None

    async def _candidates(
        self, tenant: Tenant, criteria: Criteria, count: int
    ) -> ListedCandidates | WayCandidates:
        order, direction, second = criteria.order, criteria.direction, criteria.second
        ids = await named_ids(self._resources, tenant, self._searched, criteria.filters)
        if ids is not None:
            return ListedCandidates(self._sets, ids, order, direction, second)
        found = ways(self._searched, criteria.filters)
        counts = await self._counts(found)
        sizes = {way: sum(map(sum, by_set)) for way, by_set in counts.items()}
        plan = choose(found, sizes, order, count)
        if plan.is_sorted:
            return SortedCandidates(self._sets, plan.way, order, direction, counts[plan.way], second)
        size = max(count // 2, _MIN_STEP)
        if second is not None:
            return TiedCandidates(self._sets, plan.way, direction, size, counts[plan.way], second)
        return WayCandidates(self._sets, plan.way, direction, size, counts[plan.way])

    async def _counts(self, found: Sequence[Way]) -> dict[Way, list[Sequence[int]]]:
        """How many resources each set of each way has in each partition."""
        ranges = [SetRange(part.name, *part.range) for way in found for part in way.sets]
        sizes = iter(await self._sets.sizes(ranges))
        return {way: [next(sizes) for _ in way.sets] for way in found}

    async def _number_of_all(self, moment_ms: int) -> int | None:
        """Those that are unchanged since the moment, and those that were changed and existed at it."""
        for _ in range(_TRIES):
            before = await self._as_of(moment_ms)
            (counts,) = await self._sets.sizes([SetRange(SetKind.MOMENT.value, 0, moment_ms)])
            after = await self._as_of(moment_ms)
            if before.keys() == after.keys():
                return sum(counts) + sum(version is not None for version in after.values())
        return None

    async def _as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        try:
            return await self._sets.as_of(moment_ms)
        except SnapshotTooOld:
            raise too_old() from None

    def _alternatives(self, principal: Principal) -> Alternatives:
        return alternatives(principal.scopes, self._searched.resource_type, "s")


class _Judge:
    """Decides on one version; fails closed."""

    def __init__(
        self, searched: IndexedType, criteria: Criteria, is_allowed: Callable[[Version], bool]
    ) -> None:
        self.is_allowed = is_allowed
        self.has_unconvertible = False
        self._searched = searched
        self._criteria = criteria
        self._indexers: dict[Release, ResourceIndexer] = {}

    def __call__(self, version: Version) -> tuple[Position, Match] | None:
        if version.resource is None or not self.is_allowed(version):
            return None
        release, resource_type = self._searched.release, self._searched.resource_type
        resource = convert(version.resource, resource_type, version.release, release)
        if resource is None:
            self.has_unconvertible = True
            return None
        try:
            state = state_of(version._replace(resource=resource, release=release))
            if state is None or not all(test(state) for test in self._criteria.tests):
                return None
            return Position(self._place(version), version.key.id), Match(version, resource)
        except READ_ERRORS:
            return None

    def _place(self, version: Version) -> int:
        criteria = self._criteria
        score = self._score(version, criteria.order)
        first = place(score, is_descending=criteria.direction.is_descending)
        if criteria.second is None:
            return first
        return joined_score(first, criteria.second.place(self._score(version, criteria.second.order)))

    def _score(self, version: Version, order: Order) -> int:
        """As the sets have it: by the parameters of the release in which the resource is stored."""
        if order is Order.MOMENT:
            return version.at_ms
        indexer = self._indexers.get(version.release)
        if indexer is None:
            searched = self._searched
            indexer = ResourceIndexer(searched.resource_type, version.release, (), searched.context)
            self._indexers[version.release] = indexer
        return indexer.date(state_of(version) or {})


class _AsTheyAreNow:
    """Candidates for a principal whose scopes have restrictions: what was changed since the snapshot is shown
    as it was if what it is now may be seen too.
    """

    def __init__(self, candidates: Candidates, judge: _Judge) -> None:
        self._candidates = candidates
        self._judge = judge

    async def pieces(self, after: Mapping[int, Position | None]) -> Mapping[int, Piece]:
        return await self._candidates.pieces(after)

    async def current(self, ids: Sequence[str]) -> Mapping[str, Version]:
        return await self._candidates.current(ids)

    async def as_of(self, moment_ms: int) -> Mapping[str, Version | None]:
        versions = await self._candidates.as_of(moment_ms)
        current = await self._candidates.current([each for each, version in versions.items() if version])
        return {
            each: version if each in current and self._judge.is_allowed(current[each]) else None
            for each, version in versions.items()
        }


def too_old() -> Gone:
    text = "Too much was changed since the first page of this search. Start the search again."
    return Gone(Issue("deleted", text))
