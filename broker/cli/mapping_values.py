"""What the commands of `mappings` print."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.reading import MappedReading, ReadingProblem
from broker.mapping.reading_types import READING_TYPES


@dataclass(frozen=True, slots=True)
class MappingListRow:
    """A mapping that a broker with these settings uses."""

    name: str
    title: str
    file: str
    shipped: bool
    observations: list[str]

    @classmethod
    def of(cls, mapping: DeviceMapping) -> "MappingListRow":
        names = [rule.name for rule in mapping.observations]
        return cls(mapping.name, mapping.title, mapping.file, mapping.is_shipped, names)


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A reading type that a mapping can name."""

    type: str
    title: str
    codes: list[str]
    units: list[str]
    profile: str

    @classmethod
    def all(cls) -> list["TypeRow"]:
        return [
            cls(
                name,
                kind.title,
                [f"{coding.system}|{coding.code}" for coding in kind.codes],
                [unit.code for unit in kind.units],
                kind.profile,
            )
            for name, kind in READING_TYPES.items()
        ]


@dataclass(frozen=True, slots=True)
class CheckedMappingRow:
    """The result for one file. `problem` is empty if it can be used; `warnings` are about its use."""

    file: str
    mapping: str
    observations: int
    problem: str
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """What could not be mapped."""

    reason: str
    place: str
    field: str
    text: str
    candidates: list[str]

    @classmethod
    def of(cls, problem: ReadingProblem) -> "ProblemRow":
        return cls(problem.reason, problem.place, problem.field, problem.text, list(problem.candidates))


def reading_of(reading: MappedReading) -> dict[str, Any]:
    """A reading as a JSON object; its resource has the numbers as they are."""
    patient = reading.patient
    return {
        "mapping": reading.mapping,
        "observation": reading.name,
        "device": _identifier(reading.device.identifier),
        "patient": None if patient is None else _identifier(patient.identifier),
        "encounter": None if reading.encounter is None else _identifier(reading.encounter),
        "start": reading.start.isoformat(),
        "end": None if reading.end is None else reading.end.isoformat(),
        "clockOffsetSeconds": reading.clock_offset_s,
        "correction": reading.correction,
        "discriminator": reading.discriminator,
        "merge": None if reading.merge is None else reading.merge.window or f"by {reading.merge.key}",
        "members": list(reading.members),
        "resource": reading.resource,
    }


def _identifier(identifier: Sequence[str]) -> Mapping[str, str]:
    system, value = identifier
    return {"system": system, "value": value}
