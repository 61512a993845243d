"""Merges readings into the one Observation of their time, hour, day or correlation id
(`fhir/merged_observations.py`).

Readings that come together, or while others are being written, are one version of it. Processes that merge
into one Observation at once meet at the version that each has read: the later write fails, and its readings
are merged again.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple
from weakref import WeakValueDictionary

from broker.errors import Gone, PreconditionFailed, RequestError
from broker.fhir.merged_observations import MergedObservation
from broker.fhir.merged_values import MergeReading
from broker.fhir.unmergeable import Unmergeable
from broker.ingest.intake import Intake
from broker.ingest.readings.unwritten import Unwritten, not_accepted
from broker.ingest.readings.values import ReadingStatus, StoredReading
from broker.ingest.requests import ChangeRequest
from broker.mapping.reading import ReadingProblem
from broker.model.change import Tenant, Version
from broker.model.precondition import VersionCondition
from broker.model.resource import Resource
from broker.store.resources import Resources

_LARGE_BYTES = 65_536
_MAX_ATTEMPTS = 20
"""Each failed one is a write of another process."""
Result = StoredReading | Unwritten


class Merging(NamedTuple):
    """One reading to merge. `request` has the tenant, the id of the Observation, and who sent the reading."""

    request: ChangeRequest
    mapping: str
    reading: MergeReading


class _Waiting:
    """Readings of one call of `merge` that wait to be written, and later what became of them."""

    def __init__(self, merged: Sequence[Merging]) -> None:
        self.merged = merged
        self.results: list[Result] | None = None


class _Queue:
    """What waits for one Observation. The holder of the lock writes all of it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting: list[_Waiting] = []


class ReadingMerger:
    """Through the same intake as all changes."""

    def __init__(self, intake: Intake, resources: Resources) -> None:
        self._intake = intake
        self._resources = resources
        self._queues: WeakValueDictionary[tuple[Tenant, str], _Queue] = WeakValueDictionary()

    async def merge(self, merged: Sequence[Merging]) -> list[Result]:
        """What became of each of the readings, which are of one Observation. Raises `StoreUnavailable`.

        Those that come while others of the Observation are being written are written together afterwards.
        """
        request = merged[0].request
        queue = self._queues.setdefault((request.tenant, request.id), _Queue())
        own = _Waiting(merged)
        queue.waiting.append(own)
        async with queue.lock:
            if own.results is None:
                await self._write_queue(queue, own)
        assert own.results is not None  # noqa: S101 set, or an exception was raised
        return own.results

    async def _write_queue(self, queue: _Queue, own: _Waiting) -> None:
        taken, queue.waiting = queue.waiting, []
        try:
            results = await self._write_groups([each for waiting in taken for each in waiting.merged])
        except BaseException:
            # the others try by themselves
            queue.waiting[:0] = [each for each in taken if each is not own]
            raise
        for waiting in taken:
            waiting.results, results = results[: len(waiting.merged)], results[len(waiting.merged) :]

    async def _write_groups(self, merged: Sequence[Merging]) -> list[Result]:
        """Those of one requester are one version, since the audit trail names who wrote it."""
        results: list[Result] = []
        for _, group in groupby(merged, key=lambda each: each.request.requester):
            results += await self._write_group(list(group))
        return results

    async def _write_group(self, merged: Sequence[Merging]) -> list[Result]:
        try:
            return await self._write(merged)
        except RequestError as error:
            if len(merged) == 1:
                return [not_accepted(error, merged[0].mapping)]
        # one that is not valid must not stop the others
        return [await self._write_alone(each) for each in merged]

    async def _write_alone(self, merging: Merging) -> Result:
        try:
            (result,) = await self._write([merging])
        except RequestError as error:
            return not_accepted(error, merging.mapping)
        return result

    async def _write(self, merged: Sequence[Merging]) -> list[Result]:
        """Raises `RequestError`; nothing is written then."""
        request = merged[0].request
        for _ in range(_MAX_ATTEMPTS):
            current = await self._resources.current(request.tenant, "Observation", request.id)
            fold = await _folded(None if current is None else current.resource, merged)
            if fold.resource is None:
                reference = "" if current is None else current.key.reference
                return _results(fold.outcomes, reference, _number(current))
            update = request._replace(op="put", resource=fold.resource, condition=_unchanged(current))
            try:
                accepted = (await self._intake.admit(update)).accepted
            except (PreconditionFailed, Gone):
                continue
            assert accepted is not None  # noqa: S101 an update without criteria writes or raises
            return _results(fold.outcomes, accepted.key.reference, accepted.key.version)
        text = "Other processes keep changing the Observation of the reading. Redrive the reading."
        return [_unwritten(each, Unmergeable("conflict", text)) for each in merged]


class _Fold(NamedTuple):
    """What became of each reading, and the merged Observation: None if nothing changed."""

    outcomes: list[ReadingStatus | Unwritten]
    resource: Resource | None


async def _folded(stored: Resource | None, merged: Sequence[Merging]) -> _Fold:
    """By a thread if it takes longer than other requests may wait."""
    size = sum(len(each.reading.resource.text) for each in merged) + (len(stored.text) if stored else 0)
    if size < _LARGE_BYTES:
        return _fold(stored, merged)
    return await asyncio.to_thread(_fold, stored, merged)


def _fold(stored: Resource | None, merged: Sequence[Merging]) -> _Fold:
    try:
        observation = MergedObservation(stored)
    except Unmergeable as error:
        return _Fold([_unwritten(each, error) for each in merged], None)
    outcomes = [_add(observation, each) for each in merged]
    is_changed = ReadingStatus.ACCEPTED in outcomes
    return _Fold(outcomes, observation.resource(merged[0].request.id) if is_changed else None)


def _add(observation: MergedObservation, merging: Merging) -> ReadingStatus | Unwritten:
    is_withdrawn = merging.reading.correction == "entered-in-error"
    try:
        is_changed = (observation.withdraw if is_withdrawn else observation.add)(merging.reading)
    except Unmergeable as error:
        return _unwritten(merging, error)
    return ReadingStatus.ACCEPTED if is_changed else ReadingStatus.DUPLICATE


def _results(outcomes: Sequence[ReadingStatus | Unwritten], reference: str, version: int) -> list[Result]:
    return [
        outcome if isinstance(outcome, Unwritten) else StoredReading(outcome, reference, version)
        for outcome in outcomes
    ]


def _unwritten(merging: Merging, error: Unmergeable) -> Unwritten:
    return Unwritten([ReadingProblem(error.code, "conflict", merging.mapping, "", "", error.text)])


def _number(current: Version | None) -> int:
    return 0 if current is None else current.key.version


def _unchanged(current: Version | None) -> VersionCondition:
    if current is None or current.resource is None:
        return VersionCondition(if_none_match="*")
    return VersionCondition(str(current.key.version))
