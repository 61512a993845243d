"""Tries a payload: what intake would make of it now, without writing anything.

It resolves readings as `intake.py` does, by the mappings, the policies and what is stored. A Device or
Patient that intake would create gets an id that says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from broker.errors import RequestError
from broker.fhir.criteria import Criteria
from broker.fhir.reading_resources import is_same_reading
from broker.ingest.intake import Intake
from broker.ingest.readings.devices import DeviceRecord, Devices
from broker.ingest.readings.formats import decode
from broker.ingest.readings.identities import Identities
from broker.ingest.readings.panels import WrittenMembers, incomplete
from broker.ingest.readings.policy import ReadingPolicy
from broker.ingest.readings.resolution import PlannedObservation, Resolver, Unresolved
from broker.ingest.readings.values import RawReading
from broker.ingest.readings.writing import conflict, is_duplicate, request_of, with_id
from broker.ingest.requests import ChangeRequest
from broker.mapping.decoders.undecodable import Undecodable
from broker.mapping.mapping_set import MappingSet
from broker.mapping.reading import MappedReading, ReadingProblem
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.resources import Resources

_NEW = "created-by-this-reading-"


class TrialEffect(StrEnum):
    """What would be written."""

    CREATE = "create"
    CORRECT = "correct"  # a stored Observation would be replaced
    MERGE = "merge"  # it would be part of the Observation of its window
    NOTHING = "nothing"  # it is stored already


@dataclass(frozen=True, slots=True)
class TriedResource:
    """A resource that the payload would become, by the mapping of this name."""

    resource: Resource
    mapping: str
    effect: TrialEffect


@dataclass(slots=True)
class Trial:
    """`problems` would put the payload into quarantine; with `is_refused`, nothing of it would be kept.

    `created` are Devices, Patients and DeviceMetrics that would be created first.
    """

    observations: list[TriedResource] = field(default_factory=list)
    created: list[Resource] = field(default_factory=list)
    problems: list[ReadingProblem] = field(default_factory=list)
    is_refused: bool = False


class _Finding(Identities):
    """Finds what is stored; gives a name to what would be created, and remembers it."""

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self._validate = intake.validate
        self.created: dict[str, Resource] = {}

    async def _create(
        self, reading: RawReading, resource_type: str, criteria: Criteria, resource: Resource
    ) -> str:
        if match := await self._intake.conditions.match(reading.tenant, resource_type, criteria):
            return match.key.reference
        self._validate(ChangeRequest(reading.tenant, Release.R4, "create", resource_type, resource=resource))
        reference = f"{resource_type}/{_NEW}{len(self.created) + 1}"
        self.created[reference] = resource
        return reference


class _DevicesWithNew(Devices):
    """Those that are stored, and those that would be created: in use, and nobody's yet."""

    def __init__(self, resources: Resources, finding: _Finding) -> None:
        super().__init__(resources)
        self._finding = finding

    async def record(self, tenant: Tenant, device: str) -> DeviceRecord:
        if device in self._finding.created:
            return DeviceRecord(True, "active", "", None, ())
        return await super().record(tenant, device)


class ReadingTrial:
    """`mappings` gives those that are in force."""

    def __init__(
        self, mappings: Callable[[], MappingSet], intake: Intake, resources: Resources, policy: ReadingPolicy
    ) -> None:
        self._mappings = mappings
        self._intake = intake
        self._resources = resources
        self._policy = policy

    async def run(self, raw: RawReading, mapping: str = "") -> Trial:
        """`mapping`: the name of the one to use, '' for the one that matches. Raises `StoreUnavailable`."""
        trial, finding = Trial(), _Finding(self._intake)
        resolver = Resolver(finding, _DevicesWithNew(self._resources, finding), self._policy)
        planned = []
        for mapped in self._map(raw, mapping):
            if isinstance(mapped, ReadingProblem):
                trial.problems.append(mapped)
                continue
            try:
                planned.append((mapped, await resolver.resolve(raw, mapped)))
            except Unresolved as error:
                trial.problems.append(error.problem)
                trial.is_refused |= error.is_refused
        members = WrittenMembers()
        for reading, observation in sorted(planned, key=lambda pair: bool(pair[0].members)):
            if missing := members.missing(reading):
                trial.problems.append(incomplete(reading, missing))
                continue
            complete = members.complete(reading, observation) if reading.members else observation
            if await self._try(raw, complete, trial):
                members.add(reading, observation.id)
        trial.created = list(finding.created.values())
        return trial

    def _map(self, raw: RawReading, mapping: str) -> Sequence[MappedReading | ReadingProblem]:
        try:
            return self._mappings().map(decode(raw), raw.received, mapping)
        except Undecodable as error:
            return [ReadingProblem("structure", "malformed", "", "", error.place, str(error))]

    async def _try(self, raw: RawReading, planned: PlannedObservation, trial: Trial) -> bool:
        """Adds the Observation, or why intake would not accept it; returns whether it would."""
        try:
            self._intake.validate(request_of(raw, planned))
        except RequestError as error:
            trial.problems += [
                ReadingProblem(issue.code, "invalid", planned.mapping, issue.expression or "", "", issue.text)
                for issue in error.issues
            ]
            return False
        current = await self._resources.current(raw.tenant, "Observation", planned.id)
        stored = None if current is None else current.resource
        effect = TrialEffect.CREATE
        if planned.window is not None:
            effect = TrialEffect.MERGE
        elif stored is not None and planned.correction:
            is_same = is_same_reading(stored, planned.resource)
            effect = TrialEffect.NOTHING if is_same else TrialEffect.CORRECT
        elif stored is not None:
            if not is_duplicate(stored, planned):
                trial.problems.append(conflict(planned))
                return False
            effect = TrialEffect.NOTHING
        resource = with_id(planned.resource, planned.id)
        trial.observations.append(TriedResource(resource, planned.mapping, effect))
        return True
