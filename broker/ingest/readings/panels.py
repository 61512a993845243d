"""Panels: Observations that refer to other ones of the same payload by `hasMember`."""

from typing import NamedTuple

from broker.fhir.reading_resources import with_has_member
from broker.ingest.readings.resolution import PlannedObservation
from broker.mapping.reading import MappedReading, ReadingProblem


class _Key(NamedTuple):
    """What a panel names its members by: those of its mapping and item."""

    mapping: str
    item: int
    name: str


class WrittenMembers:
    """Which Observations of one payload are stored, so that its panels may refer to them."""

    def __init__(self) -> None:
        self._ids: dict[_Key, str] = {}

    def add(self, reading: MappedReading, observation_id: str) -> None:
        """The Observation of the reading is stored."""
        self._ids[_Key(reading.mapping, reading.item, reading.name)] = observation_id

    def complete(self, reading: MappedReading, planned: PlannedObservation) -> PlannedObservation | None:
        """The Observation of a panel with references to its members; None while one is not stored."""
        ids = [self._ids.get(_Key(reading.mapping, reading.item, name), "") for name in reading.members]
        if not all(ids):
            return None
        references = [f"Observation/{each}" for each in ids]
        return planned._replace(resource=with_has_member(planned.resource, references))

    def problem(self, reading: MappedReading) -> ReadingProblem:
        """Why a panel is not stored: it would stay incomplete."""
        missing = [name for name in reading.members if _Key(reading.mapping, reading.item, name) not in self._ids]
        text = f"Its members are not all stored: {', '.join(missing)}. Correct those, and redrive the payload."
        return ReadingProblem("incomplete", "member-missing", reading.mapping, reading.name, "", text)
