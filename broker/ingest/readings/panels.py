"""Panels: Observations that refer to other ones of the same payload by `hasMember`."""

from broker.fhir.reading_resources import with_has_member
from broker.ingest.readings.resolution import PlannedObservation
from broker.mapping.reading import MappedReading, ReadingProblem


class WrittenMembers:
    """Which Observations of one payload are stored, so that its panels may refer to them. A panel refers to
    those of its mapping and item, by name.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, int, str], str] = {}

    def add(self, reading: MappedReading, observation_id: str) -> None:
        """The Observation of the reading is stored."""
        self._ids[reading.mapping, reading.item, reading.name] = observation_id

    def missing(self, panel: MappedReading) -> list[str]:
        """The names of the members that are not stored."""
        return [name for name in panel.members if (panel.mapping, panel.item, name) not in self._ids]

    def complete(self, panel: MappedReading, planned: PlannedObservation) -> PlannedObservation:
        """The Observation of the panel with references to its members, none of which is missing."""
        ids = [self._ids[panel.mapping, panel.item, name] for name in panel.members]
        references = [f"Observation/{each}" for each in ids]
        return planned._replace(resource=with_has_member(planned.resource, references))


def incomplete(panel: MappedReading, missing: list[str]) -> ReadingProblem:
    """Why a panel is not stored."""
    text = f"Its members are not all stored: {', '.join(missing)}. Correct those, and redrive the payload."
    return ReadingProblem("incomplete", "member-missing", panel.mapping, panel.name, "", text)
