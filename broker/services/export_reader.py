"""Divides what an export has into files, and reads one of them as of the moment of the export (decision 300).

A file is a range of places in the sorted sets of a type. A resource that was changed after the moment has
left its place; all versions of it are in the set `v`, and the one before the first later change is that of
the moment. Each file reads its range first and the later changes then, so whatever is written meanwhile, the
files together have each resource once, as it was.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from broker.matching.search_terms import SetKind
from broker.model.change import Interaction, Version
from broker.store.export_jobs import ExportFile
from broker.store.scripts.search import PieceOfSet
from broker.store.search_sets import VERSIONS, SearchSets, SetRange
from broker.store.set_ranges import DividedRange, RangeOfSet

_PIECE = 500
_LATER_PIECE = 5_000
_END_MS = 2**53
Place = tuple[int, str]


async def plan_files(
    sets: SearchSets, resource_type: str, since_ms: int, moment_ms: int, *, size: int
) -> list[ExportFile]:
    """Files of about `size` resources, or fewer. With a `since_ms`, deletions have files of their own."""
    ranges = await sets.divided(SetRange(SetKind.MOMENT.value, since_ms, moment_ms), size)
    files = [ExportFile(resource_type, False, tuple(group)) for group in _grouped(ranges, size)]
    if since_ms:
        ranges = await sets.divided(SetRange(VERSIONS, since_ms, moment_ms), size)
        files += [ExportFile(resource_type, True, tuple(group)) for group in _grouped(ranges, size)]
    return files


def _grouped(ranges: Sequence[DividedRange], size: int) -> list[list[RangeOfSet]]:
    """Ranges with their sizes, put together until a file has enough."""
    groups: list[list[RangeOfSet]] = []
    room = 0
    for part, count in ranges:
        if count > room or not groups:
            groups.append([])
            room = size
        groups[-1].append(part)
        room -= count
    return groups


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files of one type of an export."""

    sets: SearchSets
    since_ms: int
    moment_ms: int

    async def resources(self, file: ExportFile) -> AsyncIterator[Sequence[Version]]:
        """The versions of a file, each resource once, in pieces."""
        for part in file.ranges:
            seen: set[str] = set()
            async for members in self._pieces(part, SetKind.MOMENT.value):
                current = await self.sets.current_as_stored([each for _, each in members])
                found = [
                    current[each]
                    for score, each in members
                    if each in current and current[each].at_ms == score
                ]
                seen.update(version.key.id for version in found)
                yield found
            async for versions in self._changed_later(part):
                yield [version for version in versions if version.key.id not in seen]

    async def _changed_later(self, part: RangeOfSet) -> AsyncIterator[Sequence[Version]]:
        """The versions at the moment of those that were changed after it and had a place in the range."""
        first: dict[str, int] = {}
        later = RangeOfSet(part.partition, None, None)
        async for members in self._pieces(later, VERSIONS, self.moment_ms + 1, _END_MS, _LATER_PIECE):
            for _, member in members:
                resource_id, _, number = member.rpartition(" ")
                first[resource_id] = min(int(number), first.get(resource_id, int(number)))
        before = [(resource_id, number - 1) for resource_id, number in first.items() if number > 1]
        for start in range(0, len(before), _PIECE):
            named = before[start : start + _PIECE]
            moments = await self.sets.moments(part.partition, named)
            wanted = [
                each
                for each, at_ms in zip(named, moments, strict=True)
                if at_ms is not None and self._is_in(part, (at_ms, each[0]))
            ]
            versions = await self.sets.versions(wanted)
            yield [each for each in versions.values() if each.interaction is not Interaction.DELETE]

    def _is_in(self, part: RangeOfSet, place: Place) -> bool:
        return (
            self.since_ms <= place[0] <= self.moment_ms
            and (part.after is None or place > part.after)
            and (part.until is None or place <= part.until)
        )

    async def deletions(self, file: ExportFile) -> AsyncIterator[Sequence[Version]]:
        """The deletions of a file that were in force at the moment, in pieces."""
        for part in file.ranges:
            async for members in self._pieces(part, VERSIONS):
                named = [(each, int(number)) for each, _, number in (m.rpartition(" ") for _, m in members)]
                versions = (await self.sets.versions(named)).values()
                deleted = [each for each in versions if each.interaction is Interaction.DELETE]
                following = [(each.key.id, each.key.version + 1) for each in deleted]
                moments = await self.sets.moments(part.partition, following)
                yield [
                    each
                    for each, next_ms in zip(deleted, moments, strict=True)
                    if next_ms is None or next_ms > self.moment_ms
                ]

    async def _pieces(
        self,
        part: RangeOfSet,
        name: str,
        low: int | None = None,
        high: int | None = None,
        size: int = _PIECE,
    ) -> AsyncIterator[Sequence[Place]]:
        """The members of a range in order; of the span of the export unless another is given."""
        after, until = part.after, part.until
        low, high = self.since_ms if low is None else low, self.moment_ms if high is None else high
        while True:
            wanted = PieceOfSet(part.partition, name, low, high, is_descending=False, after=after)
            (piece,) = await self.sets.pieces([wanted], size)
            members = [each for each in piece.members if until is None or each <= until]
            if members:
                yield members
            if not piece.has_more or len(members) < len(piece.members):
                return
            after = piece.members[-1]
