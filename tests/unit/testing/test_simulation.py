"""Simulated devices: reproducible, plausible over the day, and disturbed as asked."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import fmean

import pytest

from broker.testing.simulation import (
    Disturbances,
    Fault,
    Kind,
    Sample,
    devices,
    disturbed,
    observation_of,
    payload_of,
    samples,
)
from broker.testing.simulation.physiology import Person

START = datetime(2025, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PEOPLE = [Person(f"patient-{n}", 7) for n in range(20)]
PLAUSIBLE = {
    "heartRate": (35, 160),
    "systolic": (80, 190),
    "diastolic": (45, 120),
    "spo2": (90, 100),
    "respiratoryRate": (8, 30),
    "temperature": (35.5, 38),
    "glucose": (60, 260),
}


def mean_at(value: Callable[[Person, datetime], float], hour: float) -> float:
    """Over the people and five days."""
    moments = [START + timedelta(days=day, hours=hour) for day in range(5)]
    return fmean(value(person, at) for person in PEOPLE for at in moments)


def taken(count: int, **options: float) -> list[Sample]:
    return list(samples(devices(12, 7), START, timedelta(minutes=30), count=count, **options))


def test_the_same_seed_gives_the_same_samples_and_another_one_others() -> None:
    first, second = ([payload_of(each) for each in taken(10)] for _ in range(2))
    assert first == second
    other = samples(devices(12, 8), START, timedelta(minutes=30), count=10)
    assert [payload_of(each) for each in other] != first


def test_every_value_is_plausible_over_a_week() -> None:
    for sample in taken(7 * 48):
        for name, value in sample.values.items():
            low, high = PLAUSIBLE[name]
            assert low <= value <= high, (name, value, sample.at)


def test_the_heart_is_slower_at_night_and_blood_pressure_and_temperature_lower() -> None:
    assert mean_at(Person.heart_rate, 4) + 8 < mean_at(Person.heart_rate, 16)
    assert mean_at(Person.temperature, 5) + 0.3 < mean_at(Person.temperature, 18)

    def systolic(person: Person, at: datetime) -> float:
        return person.blood_pressure(at)[0]

    assert mean_at(systolic, 4) + 5 < mean_at(systolic, 10)


def test_the_glucose_rises_after_a_meal_and_falls_again() -> None:
    before, after, later = (mean_at(Person.glucose, hour) for hour in (6.5, 8.4, 12))
    assert before + 25 < after
    assert later + 25 < after


def test_artefacts_dropouts_and_drift_are_what_was_asked_for() -> None:
    assert not any(sample.is_artefact for sample in taken(50))
    spoilt = taken(100, artefacts=0.2)
    assert 0.15 < fmean(sample.is_artefact for sample in spoilt) < 0.25
    kept = taken(100, dropouts=0.3)
    assert 0.6 < len(kept) / 1_200 < 0.8
    drifting = samples(devices(3, 7, drift_s=60), START, timedelta(days=1), count=11)
    shown = {sample.device.name: sample for sample in drifting}
    for sample in shown.values():
        assert sample.at - (START + timedelta(days=10)) == timedelta(seconds=10 * sample.device.drift_s)
    assert len({sample.device.drift_s for sample in shown.values()}) == 3


def test_disturbances_have_the_shares_asked_for_and_lose_nothing() -> None:
    of = samples(devices(50, 7), START, MINUTE, count=100)
    emissions = list(disturbed(of, payload_of, Disturbances(duplicates=0.05, late=0.1, corrupt=0.02), 7))
    counts = Counter(each.fault for each in emissions)
    assert 0.04 < counts[Fault.DUPLICATE] / 5_000 < 0.06
    assert 0.08 < counts[Fault.LATE] / 5_000 < 0.12
    assert 0.01 < counts[Fault.CORRUPT] / 5_000 < 0.03
    whole = {each.payload for each in emissions if each.fault is not Fault.CORRUPT}
    assert len(whole) == 5_000 - counts[Fault.CORRUPT]
    assert len(emissions) == 5_000 + counts[Fault.DUPLICATE]
    times = [each.sample.at for each in emissions if each.fault is Fault.NONE]
    assert times == sorted(times)
    late = [n for n, each in enumerate(emissions) if each.fault is Fault.LATE]
    assert any(emissions[n].sample.at < emissions[n - 1].sample.at for n in late)


@pytest.mark.parametrize("shares", [(0.6, 0.3, 0.2), (-0.1, 0, 0)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1 together"):
        Disturbances(*shares)


def test_payloads_and_observations_keep_the_digits_and_the_time() -> None:
    by_kind = {sample.device.kind: sample for sample in taken(1)}
    assert set(by_kind) == set(Kind)
    temperature = by_kind[Kind.TEMPERATURE]
    payload = payload_of(temperature)
    assert b'"temperature":%s' % str(temperature.values["temperature"]).encode() in payload
    document = json.loads(payload)
    assert document["kind"] == "thermometer"
    assert document["readings"][0]["time"] == "2025-03-01T00:00:00.000+00:00"
    pressure = json.loads(observation_of(by_kind[Kind.BLOOD_PRESSURE]))
    assert [each["valueQuantity"]["value"] for each in pressure["component"]] == [
        float(value) for value in by_kind[Kind.BLOOD_PRESSURE].values.values()
    ]
