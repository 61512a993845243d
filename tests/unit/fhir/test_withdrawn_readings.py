"""A reading of a merged Observation is withdrawn alone: in any order, and once however often it comes."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.fhir.merged_observations import MergedObservation
from broker.fhir.merged_samples import EPOCH, MAX_SAMPLES, Micros, microseconds
from broker.fhir.merged_values import MEASURED, MergeReading
from broker.fhir.unmergeable import Unmergeable
from broker.fhir.withdrawn_times import VALUE, WITHDRAWN, WithdrawnTimes
from broker.model import json_text
from broker.model.resource import Resource
from tests.unit.fhir.test_merged_observations import (
    BY_ID,
    START,
    component,
    extension,
    quantity,
    reading,
    samples,
)
from tests.unit.fhir.test_merging_order import essence

IN_ERROR = "entered-in-error"
UNKNOWN = {"coding": [{"code": "unknown"}]}
REQUIRED = tuple(
    {"code": {"coding": [{"system": "urn:c", "code": code}]}, "dataAbsentReason": UNKNOWN} for code in "sd"
)


def withdrawn(sent: MergeReading) -> MergeReading:
    fields = sent.resource.copy() | {"status": IN_ERROR}
    return sent._replace(resource=Resource(json_text.encode(fields)), correction=IN_ERROR)


def pressure(seconds: float, **values: int) -> MergeReading:
    """Systolic and diastolic are both required."""
    parts = [
        {"code": empty["code"], "valueQuantity": {"value": values[code]}} if code in values else empty
        for code, empty in zip("sd", REQUIRED, strict=True)
    ]
    return reading(seconds, {"component": parts}, BY_ID)._replace(required=REQUIRED)


def apply(observation: MergedObservation, sent: MergeReading) -> bool:
    return (observation.withdraw if sent.correction == IN_ERROR else observation.add)(sent)


def stored_after(readings: Sequence[MergeReading], batch: int = 1) -> Resource:
    """Each batch is merged into what is stored of the ones before."""
    stored = None
    for first in range(0, len(readings), batch):
        observation = MergedObservation(stored)
        changes = [apply(observation, each) for each in readings[first : first + batch]]
        if any(changes):
            stored = observation.resource("a")
    assert stored is not None
    return stored


def merged(readings: Sequence[MergeReading]) -> dict[str, Any]:
    return stored_after(readings).copy()


def times(fields: dict[str, Any]) -> list[str]:
    found = [each["extension"] for each in fields.get("extension", ()) if each["url"] == WITHDRAWN]
    return [part["valueString"] for parts in found for part in parts if part["url"] == "times"]


def test_an_observation_loses_the_withdrawn_sample_and_is_corrected() -> None:
    fields = merged([samples(10, "1"), samples(20, "2"), withdrawn(samples(10, "1"))])
    assert (fields["valueSampledData"]["data"], fields["status"]) == ("E E 2 E E E", "corrected")
    assert times(fields) == ["2026-03-02T08:00:10Z"]
    assert fields["issued"] == "2026-03-02T09:00:10Z"


def test_all_samples_of_a_withdrawn_reading_go_whatever_their_values_are() -> None:
    first, second = samples(0, "1 2 E 4"), samples(40, "5 6")
    fields = merged([first, second, withdrawn(samples(0, "9 9 9 9"))])
    assert fields["valueSampledData"]["data"] == "E E E E 5 6"
    assert times(fields) == ["2026-03-02T08:00:00Z+10000*4"]


def test_an_observation_loses_the_withdrawn_component() -> None:
    fields = merged([component(10, "s", 120), component(11, "d", 80), withdrawn(component(10, "s", 120))])
    (left,) = fields["component"]
    assert (left["valueQuantity"]["value"], fields["status"]) == (80, "corrected")


def test_what_was_said_of_a_withdrawn_value_goes_with_it() -> None:
    low = reading(10, {"valueQuantity": {"value": 85}, "interpretation": [{"text": "low"}]})
    fields = merged([low, component(20, "flow", 2), withdrawn(low)])
    assert not {"valueQuantity", "interpretation"} & fields.keys()
    assert fields["component"][0]["valueQuantity"]["value"] == 2
    fields = merged([low, withdrawn(low)])
    assert (fields["status"], fields["interpretation"]) == (IN_ERROR, [{"text": "low"}])


def test_a_component_that_must_be_there_has_the_reason_why_there_is_none() -> None:
    fields = merged([pressure(1, s=120), pressure(3, d=80), withdrawn(pressure(1, s=120))])
    assert fields["component"][0] == REQUIRED[0]
    assert fields["component"][1]["valueQuantity"]["value"] == 80
    assert fields["effectivePeriod"] == {"start": "2026-03-02T08:00:03Z", "end": "2026-03-02T08:00:03Z"}
    fields = merged([pressure(1, s=120), pressure(3, d=80), withdrawn(pressure(3, d=80))])
    assert fields["component"][1] == REQUIRED[1]
    assert fields["effectivePeriod"]["end"] == "2026-03-02T08:00:01Z"


def test_a_reading_of_another_component_with_the_same_time_stays() -> None:
    both = [pressure(1, s=120), pressure(1, d=80)]
    for order in itertools.permutations([*both, withdrawn(both[0])]):
        fields = merged(order)
        assert fields["component"][0] == REQUIRED[0], order
        assert fields["component"][1]["valueQuantity"]["value"] == 80


def test_of_a_reading_that_comes_after_the_withdrawal_of_a_part_the_rest_is_taken() -> None:
    fields = merged([withdrawn(pressure(1, s=120)), pressure(1, s=120, d=80)])
    assert fields["component"][0] == REQUIRED[0]
    assert fields["component"][1]["valueQuantity"]["value"] == 80
    fields = merged([withdrawn(samples(10, "1")), samples(0, "7 8 9")])
    assert fields["valueSampledData"]["data"] == "7 E 9 E E E"


@pytest.mark.parametrize(
    "readings",
    [
        [samples(10, "1"), samples(40, "2 3")],
        [quantity(10, 70)],
        [component(10, "s", 120), component(11, "d", 80)],
        [pressure(10, s=120, d=80)],
        [reading(10, {"dataAbsentReason": UNKNOWN})],
    ],
)
def test_an_observation_of_which_nothing_is_left_is_in_error_and_says_what_it_was(
    readings: list[MergeReading],
) -> None:
    withdrawals = [withdrawn(each) for each in readings]
    fields = merged([*readings, *withdrawals])
    assert fields["status"] == IN_ERROR
    assert {"valueSampledData", "valueQuantity", "component", "dataAbsentReason"} & fields.keys()
    in_error = stored_after([*readings, *withdrawals])
    for again in (*readings, *withdrawals):
        observation = MergedObservation(in_error)
        assert apply(observation, again) is False
        assert observation.resource("a") == in_error
    first = stored_after([*withdrawals, *readings]).copy()
    assert (first["status"], times(first)) == (IN_ERROR, times(fields)), "the withdrawals come first"


def test_an_observation_that_was_in_error_is_corrected_by_the_next_reading() -> None:
    first, second = quantity(10, 70, window=BY_ID), quantity(20, 71, window=BY_ID)
    for order in ([first, withdrawn(first), second], [withdrawn(first), second, first]):
        fields = merged(order)
        assert (fields["valueQuantity"]["value"], fields["status"]) == (71, "corrected")
        assert extension(fields, MEASURED) == "2026-03-02T08:00:20Z"
        assert fields["effectivePeriod"]["start"] == "2026-03-02T08:00:20Z"


def test_the_end_that_another_reading_names_stays() -> None:
    end = START + timedelta(hours=8)
    whole = [each._replace(end=end) for each in (pressure(0, s=120), pressure(0, d=80))]
    fields = merged([*whole, withdrawn(whole[0])])
    assert fields["effectivePeriod"] == {"start": "2026-03-02T08:00:00Z", "end": "2026-03-02T16:00:00Z"}


def test_a_withdrawal_of_what_was_replaced_or_has_not_come_yet_is_remembered() -> None:
    fields = merged([quantity(10, 70), quantity(20, 71), withdrawn(quantity(10, 70)), quantity(10, 70)])
    assert (fields["valueQuantity"]["value"], fields["status"]) == (71, "amended")
    fields = merged([quantity(20, 71), withdrawn(quantity(30, 99)), quantity(30, 99)])
    assert fields["valueQuantity"]["value"] == 71


def test_what_a_withdrawn_reading_had_replaced_is_taken_when_it_is_sent_again() -> None:
    first, second = samples(10, "1"), samples(15, "2")
    fields = merged([first, second, samples(40, "3"), withdrawn(second)])
    assert fields["valueSampledData"]["data"] == "E E E E 3 E"
    fields = merged([first, second, samples(40, "3"), withdrawn(second), first])
    assert fields["valueSampledData"]["data"] == "E 1 E E 3 E"


@pytest.mark.parametrize("correction", ["corrected", "amended"])
def test_a_correction_that_comes_later_is_taken(correction: str) -> None:
    right = quantity(10, 70.5, correction=correction)
    fields = merged([quantity(10, 70), withdrawn(quantity(10, 70)), right])
    assert (fields["valueQuantity"]["value"], fields["status"], times(fields)) == (70.5, "corrected", [])
    observation = MergedObservation(Resource(json_text.encode(fields)))
    assert observation.add(right) is False
    assert observation.withdraw(withdrawn(right)) is True


@pytest.mark.parametrize(
    ("stored", "sent", "text"),
    [
        (samples(10, "1"), samples(10, "1", period=5_000), "another period"),
        (samples(10, "1"), quantity(10, 1), "another kind"),
        (quantity(10, 1), samples(10, "1"), "another kind"),
    ],
)
def test_a_withdrawal_of_another_kind_is_refused_and_changes_nothing(
    stored: MergeReading, sent: MergeReading, text: str
) -> None:
    observation = MergedObservation(stored_after([stored]))
    with pytest.raises(Unmergeable, match=text):
        observation.withdraw(withdrawn(sent))
    assert observation.add(stored) is False


def test_withdrawn_times_that_are_too_many_or_were_changed_are_refused() -> None:
    many = samples(0, " ".join(["1"] * (MAX_SAMPLES // 2 + 1)), period=1, window=BY_ID)
    later = samples(3600, " ".join(["1"] * (MAX_SAMPLES // 2)), period=1, window=BY_ID)
    in_error = stored_after([withdrawn(many)])
    with pytest.raises(Unmergeable, match="withdrawn samples"):
        MergedObservation(in_error).withdraw(withdrawn(later))
    fields = in_error.copy()
    for text in ("yesterday", "2026-03-02T08:00:00Z+x*3", "2026-03-02T08:00:00Z+1*9999999"):
        fields["extension"][-1]["extension"][-1]["valueString"] = text
        with pytest.raises(Unmergeable, match="times of the withdrawn"):
            MergedObservation(Resource(json_text.encode(fields)))


def test_an_observation_that_a_client_withdrew_as_a_whole_stays_so() -> None:
    readings = [quantity(10, 70), quantity(20, 71), withdrawn(quantity(10, 70))]
    fields = merged(readings) | {"status": IN_ERROR}
    with pytest.raises(Unmergeable, match="was withdrawn"):
        MergedObservation(Resource(json_text.encode(fields)))


_WHOLE = st.integers(0, 3_000_000_000).map(lambda n: microseconds(START) + n)
_BEFORE_1970 = st.integers(-3_000_000_000, -1)
_FRACTIONS = st.integers(0, 500).map(lambda n: microseconds(START) + n * Decimal("3906.25"))


@given(
    moments=st.lists(_WHOLE | _BEFORE_1970, unique=True) | st.lists(_FRACTIONS, unique=True),
    is_component=st.booleans(),
)
def test_withdrawn_times_are_read_as_they_were_written(moments: list[Micros], *, is_component: bool) -> None:
    code = {"coding": [{"system": "urn:c", "code": "s"}]} if is_component else {}
    part = (("urn:c", "s"),) if is_component else VALUE
    written = WithdrawnTimes()
    written.add(part, code, moments)
    fields: dict[str, Any] = {"extension": [{"url": "urn:other"}, *written.extensions()]}
    read = WithdrawnTimes.taken_from(fields)
    assert fields == {"extension": [{"url": "urn:other"}]}
    assert set(read.of(part)) == set(moments)
    assert read.extensions() == written.extensions()
    assert bool(read) is bool(moments)


_PLACES = st.lists(st.integers(0, 5), min_size=2, max_size=6, unique=True)


@settings(max_examples=30)
@given(
    kind=st.sampled_from(["samples", "components", "pressures"]),
    places=_PLACES,
    chosen=st.data(),
    batch=st.integers(1, 5),
)
def test_order_batches_and_repetitions_of_withdrawals_make_no_difference(
    kind: str, places: list[int], chosen: st.DataObject, batch: int
) -> None:
    """Of readings none of which replaces another."""
    readings: list[MergeReading] = []
    for place in places:
        match kind:
            case "samples":
                readings.append(samples(place * 10 + 0.25, str(place)))
            case "components":
                readings.append(component(place, "abcdef"[place], place))
            case _:
                readings = [pressure(n + 1, **{code: 100}) for n, code in enumerate("sd")]
    withdrawals = [withdrawn(each) for each in chosen.draw(st.lists(st.sampled_from(readings)))]
    all_sent = [*readings, *withdrawals]
    order = chosen.draw(st.permutations(all_sent))
    one_by_one = stored_after(all_sent)
    shuffled = stored_after([*order, *order], batch)
    is_in_error = one_by_one.fields["status"] == IN_ERROR
    assert (shuffled.fields["status"] == IN_ERROR) is is_in_error
    if is_in_error:
        assert times(shuffled.copy()) == times(one_by_one.copy())
    else:
        assert essence(shuffled) == essence(one_by_one)


def test_a_time_of_microseconds_and_one_of_fractions_keep_their_digits() -> None:
    written = WithdrawnTimes()
    moment = microseconds(EPOCH + timedelta(days=20_000, microseconds=5))
    written.add(VALUE, {}, [moment, moment + Decimal("0.25"), moment + 2_000_000])
    assert times({"extension": written.extensions()}) == [
        "2024-10-04T00:00:00.000005Z 2024-10-04T00:00:00.00000525Z 2024-10-04T00:00:02.000005Z"
    ]
