"""Searches of stored resources, as the API offers them: which types, and one page with what it includes.

An EHR that pulls polls with them (`docs/ehr-guide.md`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.clock import Clock
from broker.errors import Gone, IndexIncomplete, Issue
from broker.matching.restrictions import Restrictions
from broker.matching.search_index import SearchIndex
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.scopes import alternatives
from broker.services.result_parameters import Parameters
from broker.services.search_includes import Included, IncludeReader
from broker.services.search_plan import IndexedType
from broker.services.search_request import StoredSearch, parse_stored_search
from broker.services.snapshot_pages import SnapshotPageName
from broker.services.stored_search import MAX_COUNTED, Criteria, Match, TypeSearch
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.search_builds import SearchBuilds
from broker.store.search_sets import SearchSets

_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page: the search as it was understood, the matches, what they include, and the moment that all
    pages show. `total` is None without one; `next` the name of the next page, '' for none.
    """

    search: StoredSearch
    moment_ms: int
    matches: Sequence[Match]
    included: Sequence[Match]
    total: int | None
    next: str
    warnings: Sequence[Issue]


class ResourceSearchService:
    """Searches of the principal's tenant."""

    def __init__(
        self,
        store: Store,
        resources: Resources,
        index: SearchIndex,
        builds: SearchBuilds,
        clock: Clock,
        *,
        keep_ms: int,
    ) -> None:
        """`keep_ms`: how long superseded versions are kept."""
        self._store = store
        self._resources = resources
        self._index = index
        self._builds = builds
        self._clock = clock
        self._keep_ms = keep_ms
        self._restrictions = Restrictions(index.context)

    def is_searched(self, resource_type: str) -> bool:
        """Whether resources of the type can be searched."""
        return self._index.definitions(resource_type) is not None

    def indexed(self, release: Release, resource_type: str) -> IndexedType:
        """The type as a base searches it."""
        definitions = self._index.definitions(resource_type) or ()
        return IndexedType(resource_type, release, definitions, self._index.context)

    async def search(
        self,
        principal: Principal,
        release: Release,
        resource_type: str,
        parameters: Parameters,
        *,
        is_strict: bool,
    ) -> SearchResult:
        """The page that the parameters name, or the first of a new snapshot.

        Raises `Malformed` naming the parameter, `Gone` for a snapshot that is too old, and `IndexIncomplete`
        while the indexes of the type are built.
        """
        searched = self.indexed(release, resource_type)
        search = parse_stored_search(parameters, searched, is_strict=is_strict)
        name = search.page
        await self._check_complete(resource_type)
        for include in search.reverse_includes:
            await self._check_complete(include.source)
        sets = SearchSets(self._store, self._resources, principal.tenant, resource_type)
        if name is None:
            name = SnapshotPageName(await sets.snapshot())
        elif name.moment_ms < self._clock.now_ms() - self._keep_ms:
            text = "The search was started too long ago: versions of that time are gone. Start it again."
            raise Gone(Issue("deleted", text))
        types = TypeSearch(searched, self._resources, sets, self._restrictions)
        criteria = Criteria(search.filters, search.tests, search.order, search.direction, search.second)
        warnings = list(search.ignored)
        total = await self._total(principal, types, criteria, search, name, warnings)
        if search.shape.count == 0:
            return SearchResult(search, name.moment_ms, (), (), total, "", warnings)
        page = await types.page(principal, criteria, name, search.shape.count)
        if page.has_unconvertible:
            text = f"Some {resource_type} resources cannot be shown in FHIR {release}. Search another base."
            warnings.append(Issue("not-supported", text, severity="warning"))
        included = await self._included(principal, searched, search, page.matches, name.moment_ms)
        following = "" if page.next is None else str(page.next)
        return SearchResult(
            search,
            name.moment_ms,
            page.matches,
            included.matches,
            total,
            following,
            [*warnings, *included.warnings],
        )

    async def _check_complete(self, resource_type: str) -> None:
        if not await self._builds.is_complete(resource_type):
            text = f"The search indexes of {resource_type} are being built. Retry the search."
            raise IndexIncomplete(text, retry_after_s=_RETRY_AFTER_S)

    async def _total(
        self,
        principal: Principal,
        types: TypeSearch,
        criteria: Criteria,
        search: StoredSearch,
        name: SnapshotPageName,
        warnings: list[Issue],
    ) -> int | None:
        if search.wants_estimate:
            return await types.estimate(principal, criteria)
        if not search.wants_total:
            return None
        total = await types.total(principal, criteria, name.moment_ms)
        if total is None:
            text = f"More than {MAX_COUNTED:,} resources would have to be looked at. There is no total."
            warnings.append(Issue("too-costly", text, "_total", "warning"))
        return total

    async def _included(
        self,
        principal: Principal,
        searched: IndexedType,
        search: StoredSearch,
        matches: Sequence[Match],
        moment_ms: int,
    ) -> Included:
        def search_of(source: str) -> TypeSearch | None:
            if not self.is_searched(source) or not alternatives(principal.scopes, source, "s"):
                return None
            sets = SearchSets(self._store, self._resources, principal.tenant, source)
            other = self.indexed(searched.release, source)
            return TypeSearch(other, self._resources, sets, self._restrictions)

        if not search.includes and not search.reverse_includes:
            return Included((), ())
        reader = IncludeReader(searched, self._resources, self._restrictions, search_of)
        forward = await reader.referred(principal, matches, search.includes)
        backward = await reader.referring(principal, matches, search.reverse_includes, moment_ms)
        by_key = {each.version.key: each for each in (*forward.matches, *backward.matches)}
        return Included(list(by_key.values()), [*forward.warnings, *backward.warnings])
