"""Simulated devices, each of one person, and the samples that they take."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from broker.testing.simulation.physiology import Person


class Kind(StrEnum):
    """What a device measures."""

    HEART_RATE = "heart-rate"
    BLOOD_PRESSURE = "blood-pressure"
    SPO2 = "spo2"
    RESPIRATORY_RATE = "respiratory-rate"
    TEMPERATURE = "temperature"
    GLUCOSE = "glucose"


@dataclass(frozen=True, slots=True)
class Device:
    """A device. `drift_s` is by how many seconds a day its clock goes wrong; nobody corrects it."""

    name: str
    kind: Kind
    person: Person
    drift_s: float = 0.0

    def clock(self, at: datetime, start: datetime) -> datetime:
        """What its clock shows, which was right at the start."""
        return at + timedelta(seconds=self.drift_s * (at - start) / timedelta(days=1))


class Sample(NamedTuple):
    """One measurement. `at` is by the clock of the device; `number` counts its samples.

    `is_artefact`: the wearer moved, so the values are wrong and look right.
    """

    device: Device
    number: int
    at: datetime
    values: Mapping[str, Decimal]
    is_artefact: bool = False


def devices(
    count: int, seed: int, *, kinds: Sequence[Kind] = tuple(Kind), drift_s: float = 0.0
) -> list[Device]:
    """Devices of as many persons, whose kinds take turns. A clock drifts by up to `drift_s` a day."""
    made = []
    for n in range(count):
        person = Person(f"patient-{n + 1}", seed)
        kind = kinds[n % len(kinds)]
        made.append(Device(f"{kind}-{n + 1}", kind, person, drift_s * person.noise("clock")))
    return made


def samples(
    of: Sequence[Device],
    start: datetime,
    interval: timedelta,
    *,
    artefacts: float = 0.0,
    dropouts: float = 0.0,
    count: int | None = None,
) -> Iterator[Sample]:
    """The samples of all devices in the order of time, `count` of each or without end.

    `artefacts` is the share of samples that a movement spoils; `dropouts` that of samples that are missing,
    in runs of five: the sensor came off.
    """
    for number in islice(iter(_numbers()), count):
        at = start + number * interval
        for device in of:
            person = device.person
            if _share(person, "dropout", number // 5) < dropouts:
                continue
            is_artefact = _share(person, "artefact", number) < artefacts
            values = _MEASURED[device.kind](person, at, 1.6 if is_artefact else 1.0)
            yield Sample(device, number, device.clock(at, start), values, is_artefact)


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _share(person: Person, *place: object) -> float:
    """A number between 0 and 1."""
    return (person.noise(*place) + 1) / 2


def _rounded(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")


def _heart_rate(person: Person, at: datetime, factor: float) -> Mapping[str, Decimal]:
    return {"heartRate": _rounded(person.heart_rate(at) * factor, 0)}


def _blood_pressure(person: Person, at: datetime, factor: float) -> Mapping[str, Decimal]:
    systolic, diastolic = person.blood_pressure(at)
    return {
        "systolic": _rounded(systolic * min(factor, 1.3), 0),
        "diastolic": _rounded(diastolic, 0),
    }


def _spo2(person: Person, at: datetime, factor: float) -> Mapping[str, Decimal]:
    return {"spo2": _rounded(person.saturation(at) / min(factor, 1.1), 0)}


def _respiratory_rate(person: Person, at: datetime, factor: float) -> Mapping[str, Decimal]:
    return {"respiratoryRate": _rounded(person.respiratory_rate(at) * factor, 0)}


def _temperature(person: Person, at: datetime, factor: float) -> Mapping[str, Decimal]:
    return {"temperature": _rounded(person.temperature(at) - (factor - 1), 1)}


def _glucose(person: Person, at: datetime, factor: float) -> Mapping[str, Decimal]:
    return {"glucose": _rounded(person.glucose(at) / factor, 0)}


_MEASURED: Mapping[Kind, Callable[[Person, datetime, float], Mapping[str, Decimal]]] = {
    Kind.HEART_RATE: _heart_rate,
    Kind.BLOOD_PRESSURE: _blood_pressure,
    Kind.SPO2: _spo2,
    Kind.RESPIRATORY_RATE: _respiratory_rate,
    Kind.TEMPERATURE: _temperature,
    Kind.GLUCOSE: _glucose,
}
