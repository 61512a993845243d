"""Panels: Observations that refer to other ones of the same payload by `hasMember`."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from broker.fhir.reading_resources import with_has_member
from broker.ingest.readings.resolution import PlannedObservation, Unresolved
from broker.mapping.reading import MappedReading, ReadingProblem


class MemberKey(NamedTuple):
    """What a panel names its members by: a payload may have several panels of different times."""

    name: str
    start: datetime
    end: datetime | None

    @classmethod
    def of(cls, reading: MappedReading) -> "MemberKey":
        return cls(reading.name, reading.start, reading.end)


def with_members(
    reading: MappedReading, planned: PlannedObservation, ids: Mapping[MemberKey, str]
) -> PlannedObservation:
    """The Observation with references to the members of the reading; `ids` are those planned so far.

    Raises `Unresolved` if one of them failed: the panel is stored when all are.
    """
    if not reading.members:
        return planned
    keys = [MemberKey(name, reading.start, reading.end) for name in reading.members]
    missing = [key.name for key in keys if key not in ids]
    if missing:
        text = (
            f"Its members are not all stored: {', '.join(missing)}. Correct those, and redrive the payload."
        )
        raise Unresolved(
            ReadingProblem("incomplete", "member-missing", reading.mapping, reading.name, "", text)
        )
    references = [f"Observation/{ids[key]}" for key in keys]
    return planned._replace(resource=with_has_member(planned.resource, references))
