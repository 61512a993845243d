"""The resources that a page of a search includes: those that its matches refer to, and those that refer to
them.

A principal gets those that it may read (`_include`) or search (`_revinclude`) by itself.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.errors import Issue
from broker.fhir.conversion import convert
from broker.matching.filters import compile_filter
from broker.matching.paths import compile_values
from broker.matching.problems import READ_ERRORS
from broker.matching.references import normal_reference, reference_text
from broker.matching.restrictions import Restrictions
from broker.matching.states import state_of
from broker.model.principal import Principal
from broker.model.scopes import alternatives
from broker.model.search import Filter
from broker.services.search_plan import IndexedType
from broker.services.search_request import Include
from broker.services.snapshot_pages import SnapshotPageName
from broker.services.stored_search import Criteria, Match, TypeSearch
from broker.store.resources import Resources
from broker.tasks import Slices

_LOCAL = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9\-.]{1,64})", re.ASCII)
_AT_ONCE = 50
"""Matches that one search for what refers to them names."""
MAX_INCLUDED = 1_000
"""Resources that refer to the matches of one page."""


@dataclass(frozen=True, slots=True)
class Included:
    """What a page includes, and warnings about what is missing."""

    matches: Sequence[Match]
    warnings: Sequence[Issue]


class IncludeReader:
    """Reads what a search through one base includes. `search_of` gives the search of a type, None where it
    is not searched or not by this principal.
    """

    def __init__(
        self,
        searched: IndexedType,
        resources: Resources,
        restrictions: Restrictions,
        search_of: Callable[[str], TypeSearch | None],
    ) -> None:
        self._searched = searched
        self._resources = resources
        self._restrictions = restrictions
        self._search_of = search_of

    async def referred(
        self, principal: Principal, matches: Sequence[Match], includes: Sequence[Include]
    ) -> Included:
        """The current versions of what the matches refer to, each once and without the matches."""
        wanted: dict[tuple[str, str], None] = {}
        slices = Slices()
        for match in matches:
            await slices.pause()
            for target in self._targets(match, includes):
                wanted[target] = None
        for match in matches:
            wanted.pop((match.version.key.type, match.version.key.id), None)
        readable = {name: alternatives(principal.scopes, name, "r") for name, _ in wanted}
        warnings = [
            _left_out(f"The client may not read {name}.", "suppressed")
            for name, allowed in readable.items()
            if not allowed
        ]
        targets = [target for target in wanted if readable[target[0]]]
        versions = await self._resources.current_many(principal.tenant, targets)
        found, unconvertible = [], set()
        for target in targets:
            version = versions.get(target)
            if version is None or version.resource is None:
                continue
            if not self._restrictions.allow(readable[target[0]], version):
                continue
            await slices.pause()
            resource = convert(version.resource, target[0], version.release, self._searched.release)
            if resource is None:
                unconvertible.add(target[0])
            else:
                found.append(Match(version, resource))
        warnings += [
            _left_out(f"There is {name} that FHIR {self._searched.release} cannot show.", "not-supported")
            for name in sorted(unconvertible)
        ]
        return Included(found, warnings)

    def _targets(self, match: Match, includes: Sequence[Include]) -> list[tuple[str, str]]:
        searched, targets = self._searched, []
        state = state_of(match.version._replace(resource=match.resource)) or {}
        for include in includes:
            try:
                elements = compile_values(include.parameter.expression, searched.release)(state)
            except READ_ERRORS:
                continue  # no filter passes such a resource either
            for element in elements:
                text = normal_reference(reference_text(element) or "", searched.context.base_urls)
                local = _LOCAL.fullmatch(text)
                if local is not None and include.target in {"", local[1]}:
                    targets.append((local[1], local[2]))
        return targets

    async def referring(
        self,
        principal: Principal,
        matches: Sequence[Match],
        includes: Sequence[Include],
        moment_ms: int,
    ) -> Included:
        """What refers to the matches, as of the moment of the page."""
        found: dict[tuple[str, str], Match] = {}
        warnings = []
        for include in includes:
            search = self._search_of(include.source)
            if search is None:
                text = f"{include.source} is not searched, or not by this client."
                warnings.append(_left_out(text, "not-supported"))
                continue
            if not await self._add(found, principal, search, include, matches, moment_ms):
                text = (
                    f"More resources refer to the matches by {include.source}:{include.parameter.code} "
                    f"than a page includes. Search {include.source} for the others."
                )
                warnings.append(Issue("too-costly", text, "_revinclude", "warning"))
        for match in matches:
            found.pop((match.version.key.type, match.version.key.id), None)
        return Included(list(found.values()), warnings)

    async def _add(
        self,
        found: dict[tuple[str, str], Match],
        principal: Principal,
        search: TypeSearch,
        include: Include,
        matches: Sequence[Match],
        moment_ms: int,
    ) -> bool:
        """False if there are more than it adds."""
        searched = self._searched
        references = [match.version.key.reference for match in matches]
        for start in range(0, len(references), _AT_ONCE):
            filter_ = Filter(include.parameter.code, ",".join(references[start : start + _AT_ONCE]))
            test = compile_filter(filter_, include.parameter, searched.release, searched.context)
            page = await search.page(
                principal, Criteria([filter_], [test]), SnapshotPageName(moment_ms), MAX_INCLUDED
            )
            for match in page.matches:
                found[match.version.key.type, match.version.key.id] = match
            if page.next is not None or len(found) > MAX_INCLUDED:
                return False
        return True


def _left_out(text: str, code: str) -> Issue:
    return Issue(code, f"{text} It was not included.", "_include", "warning")
