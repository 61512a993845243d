"""Reads the history of a type, or of all types that the principal may search, newest first, page by page.

All pages of a history are of one moment: the versions that were written up to it, each once (decision 290).
No version that is written later is dated at that moment or before, so a client that asks again with the
moment as `_since` misses nothing, whichever process accepted what.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.errors import Forbidden, Issue, Malformed, Unprocessable
from broker.matching.restrictions import Restrictions
from broker.model.change import Version
from broker.model.principal import Principal
from broker.model.scopes import alternatives
from broker.services.history_parameters import HistoryParameters, Span
from broker.services.history_reader import fill_history
from broker.services.history_sets import CurrentSets, HistorySets
from broker.services.indexed_types import IndexedTypes
from broker.services.snapshot_pages import (
    Direction,
    Position,
    SnapshotPage,
    SnapshotPageName,
    parse_snapshot_page,
)
from broker.services.snapshot_reader import SnapshotQuery, fill_page
from broker.store.search_sets import SearchSets, SnapshotTooOld

_NEWEST_FIRST = Direction(is_descending=True)
_BEFORE_ALL = "-"
"""As the id of a position: after all resources of its moment, newest first."""


@dataclass(frozen=True, slots=True)
class MomentaryPage:
    """Versions, newest first, the moment of the history, and the name of the next page, '' for the last."""

    versions: Sequence[Version]
    moment_ms: int
    next: str


class TypeHistoryService:
    """Histories of the principal's tenant."""

    def __init__(self, types: IndexedTypes, restrictions: Restrictions) -> None:
        self._types = types
        self._restrictions = restrictions

    async def of_type(
        self, principal: Principal, resource_type: str, asked: HistoryParameters
    ) -> MomentaryPage:
        """Raises `MethodNotAllowed` for a type without an index, `Malformed` for a page that is none, and
        `Unprocessable` for an `_at` that is too long ago.
        """
        sets = await self._types.sets_of(principal.tenant, resource_type)
        name = await self._name(asked)
        return await self._page(principal, name, {resource_type: sets}, asked)

    async def of_all(self, principal: Principal, asked: HistoryParameters) -> MomentaryPage:
        """Of all types that the principal may search. Raises as `of_type`, and `Forbidden` for a principal
        that may search nothing.
        """
        if not any(scope.context == "system" and "s" in scope.permissions for scope in principal.scopes):
            text = (
                f"The client {principal.client_id!r} may search no type. Ask for a scope such as system/*.s."
            )
            raise Forbidden(Issue("forbidden", text), scope="system/*.s")
        name = await self._name(asked)
        # after the moment: the first resource of a type may be written now
        sets = await self._types.all_of(principal.tenant)
        may_read = {kind: each for kind, each in sets.items() if alternatives(principal.scopes, kind, "s")}
        return await self._page(principal, name, may_read, asked)

    async def _name(self, asked: HistoryParameters) -> SnapshotPageName:
        return _named(asked.page) if asked.page else SnapshotPageName(await self._types.snapshot())

    async def _page(
        self,
        principal: Principal,
        name: SnapshotPageName,
        sets: Mapping[str, SearchSets],
        asked: HistoryParameters,
    ) -> MomentaryPage:
        page = SnapshotPage[Version](asked.count, keeps_moments_whole=True)
        reader = _Reader(principal, sets, self._restrictions)
        if not sets:
            last = None
        elif asked.at is None:
            last = await reader.fill(page, Span(asked.since_ms, name.moment_ms), name.after, asked.count)
        else:
            last = await reader.fill_at(page, asked.at, name, asked.count)
        newest_first = sorted(
            await reader.shown(page.items),
            key=lambda version: (version.at_ms, version.key.reference, version.key.version),
            reverse=True,
        )
        following = "" if last is None else str(SnapshotPageName(name.moment_ms, last))
        return MomentaryPage(newest_first, name.moment_ms, following)


class _Reader:
    """Fills one page from the sets of some types, with what the principal may read."""

    def __init__(
        self, principal: Principal, sets: Mapping[str, SearchSets], restrictions: Restrictions
    ) -> None:
        self._sets = sets
        self._restrictions = restrictions
        self._allowed = {name: alternatives(principal.scopes, name, "s") for name in sets}

    async def fill(
        self, page: SnapshotPage[Version], span: Span, after: Position | None, count: int
    ) -> Position | None:
        """The versions that were written in the span."""
        return await fill_history(HistorySets(self._sets, *span), page, self._shows, after, count)

    async def fill_at(
        self, page: SnapshotPage[Version], span: Span, name: SnapshotPageName, count: int
    ) -> Position | None:
        """The versions that were written in the span, then those that were current when it began."""
        edge, after = Position(span.first_ms, _BEFORE_ALL), name.after
        if after is None or after > edge:
            written = Span(span.first_ms, min(span.last_ms, name.moment_ms))
            last = await self.fill(page, written, after, count)
            if last is not None:
                return last
            after = edge
        candidates = CurrentSets(self._sets, span.first_ms - 1, count)

        def judge(version: Version) -> tuple[Position, Version] | None:
            is_older = version.resource is not None and version.at_ms < span.first_ms
            return (Position(version.at_ms, version.key.reference), version) if is_older else None

        query = SnapshotQuery(min(span.first_ms, name.moment_ms), _NEWEST_FIRST, judge)
        try:
            return await fill_page(query, candidates, page, candidates.sources, after, step=count)
        except SnapshotTooOld:
            text = (
                "Too much was changed since that moment. Ask for a later _at, or read the history by _since."
            )
            raise Unprocessable(Issue("too-costly", text, "_at")) from None

    async def shown(self, versions: Sequence[Version]) -> list[Version]:
        """Those that the principal may read."""
        is_shown = await self._shows(versions)
        return [version for version, is_open in zip(versions, is_shown, strict=True) if is_open]

    async def _shows(self, versions: Sequence[Version]) -> list[bool]:
        """Where a scope has restrictions, the version and the current one must meet them, as for a read."""
        restricted: dict[str, set[str]] = {}
        for version in versions:
            if () not in self._allowed[version.key.type]:
                restricted.setdefault(version.key.type, set()).add(version.key.id)
        current = {
            version.key.reference: version
            for name, ids in restricted.items()
            for version in (await self._sets[name].current_as_stored(list(ids))).values()
        }
        return [self._allows(version, current.get(version.key.reference)) for version in versions]

    def _allows(self, version: Version, current: Version | None) -> bool:
        allowed = self._allowed[version.key.type]
        return all(self._restrictions.allow(allowed, each) for each in (version, current) if each is not None)


def _named(page: str) -> SnapshotPageName:
    name = parse_snapshot_page(page)
    if name is None:
        text = "The value of _page is invalid. Follow a link of an earlier response."
        raise Malformed(Issue("value", text, "_page"))
    return name
