"""One Observation for the readings of a window: samples in their places, components by code, the value that
was measured last.
"""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from broker.fhir.merged_observations import MergedObservation
from broker.fhir.merged_samples import MAX_SAMPLES
from broker.fhir.merged_values import MEASURED, SAMPLE_OFFSETS, MergeReading, Window
from broker.fhir.unmergeable import Unmergeable
from broker.model import json_text
from broker.model.resource import Resource

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE = Window("minute", (START, START + timedelta(minutes=1, microseconds=-1)))
BY_ID = Window("by 1", None)


def reading(
    seconds: float, elements: dict[str, Any], window: Window = MINUTE, correction: str = ""
) -> MergeReading:
    moment = START + timedelta(seconds=seconds)
    made = {
        "resourceType": "Observation", "status": correction or "final", "code": {"text": "x"},
        "effectiveDateTime": moment.isoformat(), "issued": f"2026-03-02T09:00:{int(seconds) % 60:02}Z",
    }  # fmt: skip
    return MergeReading(Resource(json_text.encode(made | elements)), moment, None, window, correction)


def samples(seconds: float, data: str, *, window: Window = MINUTE, **more: Any) -> MergeReading:
    form = {"origin": {"value": 0}, "period": more.pop("period", 10_000), "dimensions": 1, "data": data}
    return reading(seconds, {"valueSampledData": form}, window, **more)


def quantity(seconds: float, value: object, **more: Any) -> MergeReading:
    return reading(seconds, {"valueQuantity": {"value": value, "unit": "kg"}}, **more)


def component(seconds: float, code: str, value: object) -> MergeReading:
    coded = {"coding": [{"system": "urn:c", "code": code}]}
    return reading(seconds, {"component": [{"code": coded, "valueQuantity": {"value": value}}]})


def merged(readings: Sequence[MergeReading], stored: Resource | None = None) -> dict[str, Any]:
    """Each merged into what is stored of the ones before."""
    for each in readings:
        observation = MergedObservation(stored)
        observation.add(each)
        stored = observation.resource("a")
    assert stored is not None
    return stored.copy()


def extension(fields: dict[str, Any], url: str) -> Any:
    found = [each for each in fields.get("extension", ()) if each["url"] == url]
    return found[0].get("valueString") or found[0].get("valueDateTime") if found else None


@pytest.mark.parametrize(
    ("readings", "data"),
    [
        ([samples(0, "1")], "1 E E E E E"),
        ([samples(10, "1"), samples(40, "2.50")], "E 1 E E 2.50 E"),
        ([samples(40, "2"), samples(10, "1")], "E 1 E E 2 E"),
        ([samples(19.9, "1"), samples(20, "2")], "E 1 2 E E E"),
        ([samples(10, "1"), samples(15, "2")], "E 2 E E E E"),
        ([samples(15, "2"), samples(10, "1")], "E 2 E E E E"),
        ([samples(12, "1"), samples(15, "2"), samples(12, "1")], "E 2 E E E E"),
        ([samples(10, "1 E 3 U")], "E 1 E 3 U E"),
        ([samples(10, "1 2 3"), samples(20, "2 E E 5")], "E 1 2 3 E 5"),
        ([samples(50, "1 2 3")], "E E E E E 1 2 3"),
        ([samples(0, "1", window=BY_ID), samples(30, "2", window=BY_ID)], "1 E E 2"),
        ([samples(30, "2", window=BY_ID), samples(0, "1", window=BY_ID)], "1 E E 2"),
        ([samples(0.5, "1", period=Decimal("0.25"), window=BY_ID),
          samples(0.50125, "2", period=Decimal("0.25"), window=BY_ID)], "1 E E E E 2"),
    ],
)  # fmt: skip
def test_each_sample_has_the_place_of_its_time_and_the_latest_of_a_place_counts(
    readings: list[MergeReading], data: str
) -> None:
    assert merged(readings)["valueSampledData"]["data"] == data


def test_components_of_one_code_in_a_reading_are_stored_as_they_are() -> None:
    parts = [{"code": {"text": "lead"}, "valueInteger": value} for value in (1, 2)]
    fields = merged([reading(0, {"component": parts})])
    assert [each["valueInteger"] for each in fields["component"]] == [1, 2]


def test_a_value_of_a_clock_before_1970_has_its_own_period() -> None:
    before = (datetime(1969, 12, 31, 23, tzinfo=UTC) - START).total_seconds()
    fields = merged([quantity(before, 70, window=BY_ID)])
    assert fields["effectivePeriod"] == {"start": "1969-12-31T23:00:00Z", "end": "1969-12-31T23:00:00Z"}


def test_all_orders_of_readings_give_the_same_samples_times_and_period() -> None:
    readings = [samples(1, "1"), samples(7.25, "2"), samples(31, "3"), samples(58.5, "4")]
    made = []
    for order in itertools.permutations(readings):
        fields = merged(order)
        made.append(
            (fields["valueSampledData"], fields["effectivePeriod"], extension(fields, SAMPLE_OFFSETS))
        )
    assert all(each == made[0] for each in made)
    assert made[0][0]["data"] == "2 E E 3 E 4"
    assert made[0][2] == "0:7250 3:1000 5:8500"


def test_readings_that_are_merged_at_once_are_as_those_merged_one_after_the_other() -> None:
    readings = [samples(n * 5, str(n)) for n in range(12)]
    at_once = MergedObservation(None)
    assert [at_once.add(each) for each in readings] == [True] * 12
    fields = at_once.resource("a").copy()
    assert fields["status"] == "final"
    one_by_one = merged(readings)
    assert fields["valueSampledData"] == one_by_one["valueSampledData"]
    assert one_by_one["status"] == "amended"


def test_the_period_is_the_window_or_that_of_the_readings() -> None:
    assert merged([samples(10, "1")])["effectivePeriod"] == {
        "start": "2026-03-02T08:00:00Z", "end": "2026-03-02T08:00:59.999999Z",
    }  # fmt: skip
    fields = merged([quantity(20, 1, window=BY_ID), quantity(5, 2, window=BY_ID)])
    assert fields["effectivePeriod"] == {"start": "2026-03-02T08:00:05Z", "end": "2026-03-02T08:00:20Z"}
    assert "effectiveDateTime" not in fields
    assert merged([samples(50, "1 2 3")])["effectivePeriod"]["end"] == "2026-03-02T08:01:10Z"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_value_that_was_measured_last_counts_whatever_the_order(order: Sequence[int]) -> None:
    readings = [quantity(10, 70), quantity(20, 71), quantity(30, Decimal("72.0"))]
    fields = merged([readings[n] for n in order])
    assert fields["valueQuantity"]["value"] == 72
    assert extension(fields, MEASURED) == "2026-03-02T08:00:30Z"


def test_components_are_merged_by_their_codes() -> None:
    fields = merged([component(10, "s", 120), component(11, "d", 80), component(20, "s", 121)])
    assert [each["valueQuantity"]["value"] for each in fields["component"]] == [121, 80]
    assert extension(fields["component"][1], MEASURED) == "2026-03-02T08:00:11Z"


def test_a_value_replaces_a_reason_why_there_is_none_and_not_the_other_way_round() -> None:
    absent = {"dataAbsentReason": {"coding": [{"code": "unknown"}]}}
    for order in itertools.permutations([quantity(10, 70), reading(20, absent)]):
        fields = merged(order)
        assert fields["valueQuantity"]["value"] == 70
        assert "dataAbsentReason" not in fields


@pytest.mark.parametrize(
    "repeated",
    [samples(15, "1.0"), samples(12, "7"), samples(15, "E"), quantity(20, Decimal("70.0")), quantity(5, 1)],
)
def test_a_repeated_or_superseded_reading_changes_nothing(repeated: MergeReading) -> None:
    is_sampled = b"valueSampledData" in repeated.resource.text
    first = samples(15, "1") if is_sampled else quantity(20, 70)
    observation = MergedObservation(None)
    observation.add(first)
    again = MergedObservation(observation.resource("a"))
    assert again.add(repeated) is False


@pytest.mark.parametrize(
    ("readings", "code", "text"),
    [
        ([samples(15, "1"), samples(15, "2")], "conflict", "Another sample"),
        ([quantity(15, 1), quantity(15, 2)], "conflict", "Another value"),
        ([samples(15, "1"), samples(20, "2", period=5_000)], "conflict", "another period"),
        ([samples(15, "1"), quantity(20, 2)], "conflict", "another kind"),
        ([quantity(20, 2), samples(15, "1")], "conflict", "another kind"),
        (
            [samples(0, "1", window=BY_ID), samples(10 * MAX_SAMPLES, "1", window=BY_ID)],
            "too-long",
            "samples",
        ),
    ],
)  # fmt: skip
def test_what_contradicts_the_stored_is_refused_and_changes_nothing(
    readings: list[MergeReading], code: str, text: str
) -> None:
    observation = MergedObservation(None)
    observation.add(readings[0])
    stored = observation.resource("a")
    with pytest.raises(Unmergeable, match=text) as caught:
        MergedObservation(stored).add(readings[1])
    assert caught.value.code == code
    with pytest.raises(Unmergeable):
        observation.add(readings[1])
    assert observation.resource("a") == stored


def test_a_reading_of_which_one_component_contradicts_changes_no_other_component() -> None:
    observation = MergedObservation(None)
    observation.add(component(10, "s", 120))
    both = component(10, "d", 80).resource.copy()
    both["component"].append(component(10, "s", 121).resource.copy()["component"][0])
    with pytest.raises(Unmergeable):
        observation.add(reading(10, {"component": both["component"]}))
    assert len(observation.resource("a").copy()["component"]) == 1


def test_an_observation_that_is_not_of_merged_readings_is_refused() -> None:
    with pytest.raises(Unmergeable, match="no period"):
        MergedObservation(quantity(1, 2).resource)
    with pytest.raises(Unmergeable, match="withdrawn"):
        MergedObservation(
            Resource(json_text.encode(merged([quantity(1, 2)]) | {"status": "entered-in-error"}))
        )
    fields = merged([samples(15, "1")])
    fields["extension"][0]["valueString"] = "1"
    with pytest.raises(Unmergeable, match="times"):
        MergedObservation(Resource(json_text.encode(fields)))


@pytest.mark.parametrize("correction", ["corrected", "amended"])
def test_a_correction_replaces_a_sample_or_value_and_is_the_status(correction: str) -> None:
    fields = merged([samples(15, "1"), samples(15, "2", correction=correction)])
    assert (fields["valueSampledData"]["data"], fields["status"]) == ("E 2 E E E E", correction)
    fields = merged([quantity(15, 1), quantity(15, 2, correction=correction), quantity(16, 3)])
    assert (fields["valueQuantity"]["value"], fields["status"]) == (3, correction)


def test_what_is_said_of_a_value_goes_with_it_and_tags_are_collected() -> None:
    tags = [{"system": "urn:t", "code": "implausible"}]
    old = {"valueQuantity": {"value": 1}, "note": [{"text": "old"}], "category": [{"text": "a"}]}
    new = {"valueQuantity": {"value": 2}, "method": {"text": "m"}, "category": [{"text": "b"}]}
    first, second = reading(10, old), reading(20, new | {"meta": {"tag": tags}})
    fields = merged([first, second])
    assert "note" not in fields
    assert (fields["method"], fields["category"], fields["meta"]) == (
        {"text": "m"}, [{"text": "b"}], {"tag": tags},
    )  # fmt: skip
    assert fields["issued"] == "2026-03-02T09:00:20Z"
