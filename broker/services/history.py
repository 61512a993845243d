"""Reads the history of a resource: its stored versions, newest first, page by page.

A page continues below the number of a version, so versions that are written between two pages change neither.
Versions whose retention has passed, or that were erased, are missing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.errors import Issue, Malformed, NotFound
from broker.matching.restrictions import Restrictions
from broker.model.change import Interaction, Version, VersionKey
from broker.model.principal import Principal
from broker.model.scopes import alternatives
from broker.services.history_parameters import HistoryParameters
from broker.store.resources import Resources

_PAGE = re.compile(r"before\.(\d{1,15})", re.ASCII)
_MAX_STEP = 10_000


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Versions, newest first, and the name of the next page, '' for the last."""

    versions: Sequence[Version]
    next: str


class HistoryService:
    """Histories of resources of the principal's tenant."""

    def __init__(self, resources: Resources, restrictions: Restrictions) -> None:
        self._resources = resources
        self._restrictions = restrictions

    async def of_resource(
        self, principal: Principal, resource_type: str, resource_id: str, asked: HistoryParameters
    ) -> HistoryPage:
        """Raises `NotFound` for a resource that is not stored, and `Malformed` for a page that is none.

        Where the scopes of the principal have restrictions, a version is shown if it and the current one meet
        them, as a read of it alone; a deletion has no content, and meets none.
        """
        target = (resource_type, resource_id)
        current = (await self._resources.current_as_stored(principal.tenant, [target])).get(target)
        if current is None or not self._may_read(principal, current):
            text = f"{resource_type}/{resource_id} does not exist, or its retention has passed. Check the id."
            raise NotFound(Issue("not-found", text))
        following = current.key.version + 1
        if asked.page:
            following = min(following, _number_after(asked.page))
        successor_ms = await self._written_ms(current, following)
        shown: list[Version] = []
        step = asked.count + 1
        while following > 1:
            numbers = range(following - 1, max(0, following - 1 - step), -1)
            keys = [current.key._replace(version=number) for number in numbers]
            versions = await self._resources.many_as_stored(keys)
            for key in keys:
                version = versions.get(key)
                if version is None:
                    continue
                if _is_before(asked, version, successor_ms):
                    return HistoryPage(shown, "")
                if _is_in(asked, version, successor_ms) and self._may_read(principal, version):
                    if len(shown) == asked.count:
                        return HistoryPage(shown, f"before.{shown[-1].key.version}")
                    shown.append(version)
                successor_ms = version.at_ms
            following = numbers[-1]
            if not versions:  # their retention has passed: look further
                step = min(10 * step, _MAX_STEP)
        return HistoryPage(shown, "")

    async def _written_ms(self, current: Version, number: int) -> int | None:
        """When a version was written; None if it is not stored, or not yet written."""
        key: VersionKey = current.key._replace(version=number)
        version = (await self._resources.stored([key])).get(key) if number <= current.key.version else None
        return None if version is None else version.at_ms

    def _may_read(self, principal: Principal, version: Version) -> bool:
        return self._restrictions.allow(alternatives(principal.scopes, version.key.type, "r"), version)


def _is_in(asked: HistoryParameters, version: Version, superseded_ms: int | None) -> bool:
    """Whether a version that was superseded at a moment is asked for."""
    if asked.at is None:
        return version.at_ms >= asked.since_ms
    is_superseded = superseded_ms is not None and superseded_ms <= asked.at.first_ms
    # what was deleted before is not there, and nothing to show
    was_absent = version.interaction is Interaction.DELETE and version.at_ms < asked.at.first_ms
    return version.at_ms <= asked.at.last_ms and not is_superseded and not was_absent


def _is_before(asked: HistoryParameters, version: Version, superseded_ms: int | None) -> bool:
    """Whether neither this version nor an earlier one is asked for."""
    if asked.at is None:
        return version.at_ms < asked.since_ms
    return superseded_ms is not None and superseded_ms <= asked.at.first_ms


def _number_after(page: str) -> int:
    parts = _PAGE.fullmatch(page)
    if parts is None:
        text = "The value of _page is invalid. Follow a link of an earlier response."
        raise Malformed(Issue("value", text, "_page"))
    return int(parts[1])
