"""Writes the Observation of a reading: once, however often it comes, and corrections as updates.

The id of an Observation follows from its reading (`resolution.py`), so a second create meets the first one,
in whatever process, without a search.
"""

from collections.abc import Sequence

from broker.errors import Gone, PreconditionFailed, RequestError
from broker.fhir.merged_values import MergeReading
from broker.fhir.reading_resources import is_same_reading, observation_status
from broker.ingest.intake import Intake
from broker.ingest.readings.merging import Merging, ReadingMerger, Result
from broker.ingest.readings.resolution import PlannedObservation
from broker.ingest.readings.unwritten import Unwritten, not_accepted
from broker.ingest.readings.values import RawReading, ReadingStatus, StoredReading
from broker.ingest.requests import ChangeRequest
from broker.mapping.reading import ReadingProblem
from broker.model.change import Version
from broker.model.precondition import VersionCondition
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.proposals import Acceptance
from broker.store.resources import Resources

_CORRECTED = frozenset({"corrected", "amended", "entered-in-error"})
_MAX_ATTEMPTS = 5


class ObservationWriter:
    """Through the same intake as all changes."""

    def __init__(self, intake: Intake, resources: Resources) -> None:
        self._intake = intake
        self._resources = resources
        self._merger = ReadingMerger(intake, resources)

    async def merge(self, readings: Sequence[tuple[RawReading, PlannedObservation]]) -> list[Result]:
        """What became of each of the readings, which become one Observation. Raises `StoreUnavailable`."""
        merged = []
        for raw, planned in readings:
            assert planned.window is not None  # noqa: S101 readings with one id are all merged or none is
            reading = MergeReading(
                planned.resource,
                planned.effective,
                planned.end,
                planned.window,
                planned.correction,
                planned.required,
            )
            merged.append(Merging(request_of(raw, planned), planned.mapping, reading))
        return await self._merger.merge(merged)

    async def write(self, raw: RawReading, planned: PlannedObservation) -> StoredReading:
        """Raises `Unwritten`, and `StoreUnavailable`."""
        request = request_of(raw, planned)
        try:
            if planned.correction:
                return await self._correct(request, planned)
            return await self._create(request, planned)
        except RequestError as error:
            raise not_accepted(error, planned.mapping) from None

    async def _create(self, request: ChangeRequest, planned: PlannedObservation) -> StoredReading:
        accepted = (await self._intake.admit(request)).accepted
        assert accepted is not None  # noqa: S101 a create without criteria writes or raises
        if accepted.status is not Acceptance.REPLAYED:
            return StoredReading(ReadingStatus.ACCEPTED, accepted.key.reference, accepted.key.version)
        current = await self._resources.current(request.tenant, "Observation", request.id)
        stored = None if current is None else current.resource
        if stored is not None and not is_duplicate(stored, planned):
            raise Unwritten([conflict(planned)])
        return StoredReading(ReadingStatus.DUPLICATE, accepted.key.reference, accepted.key.version)

    async def _correct(self, request: ChangeRequest, planned: PlannedObservation) -> StoredReading:
        """Updates what is stored. A correction that comes first is stored as it is: the reading that it
        corrects is then a duplicate.
        """
        body = with_id(planned.resource, request.id)
        for _ in range(_MAX_ATTEMPTS):
            current = await self._resources.current(request.tenant, "Observation", request.id)
            if current is not None and current.resource is not None and _is_same(current.resource, planned):
                reference = current.key.reference
                return StoredReading(ReadingStatus.DUPLICATE, reference, current.key.version)
            update = request._replace(op="put", resource=body, condition=_unchanged(current))
            try:
                accepted = (await self._intake.admit(update)).accepted
            except (PreconditionFailed, Gone):
                continue
            assert accepted is not None  # noqa: S101 an update without criteria writes or raises
            return StoredReading(ReadingStatus.ACCEPTED, accepted.key.reference, accepted.key.version)
        text = "The Observation that the reading corrects keeps changing. Send the correction again."
        raise Unwritten([ReadingProblem("conflict", "conflict", planned.mapping, "", "", text)])


def is_duplicate(stored: Resource, planned: PlannedObservation) -> bool:
    """Whether a reading says what is stored, or what was corrected since."""
    return observation_status(stored) in _CORRECTED or _is_same(stored, planned)


def conflict(planned: PlannedObservation) -> ReadingProblem:
    """Why a reading is not stored in the place of another one."""
    text = (
        "Another value is stored for this device, patient, code and time. Send a correction, or "
        "let the mapping name what tells the two readings apart (discriminator)."
    )
    return ReadingProblem("conflict", "conflict", planned.mapping, "", "", text)


def request_of(raw: RawReading, planned: PlannedObservation) -> ChangeRequest:
    """The create by which a reading is stored."""
    return ChangeRequest(
        raw.tenant,
        Release.R4,
        "create",
        "Observation",
        planned.id,
        planned.resource,
        requester=raw.requester,
        trace=raw.trace,
    )


def _is_same(stored: Resource, planned: PlannedObservation) -> bool:
    return is_same_reading(stored, planned.resource)


def _unchanged(current: Version | None) -> VersionCondition:
    if current is None or current.resource is None:
        return VersionCondition(if_none_match="*")
    return VersionCondition(str(current.key.version))


def with_id(resource: Resource, resource_id: str) -> Resource:
    """The resource, which has no id yet, with this one: the body of an update repeats it."""
    text = resource.text
    return Resource(text[:-1] + b',"id":"' + resource_id.encode() + b'"}')
