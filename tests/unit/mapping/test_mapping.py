"""One mapping: values, components, groups, identities, corrections; and what cannot be mapped."""

from decimal import Decimal
from typing import Any

import pytest

from broker.mapping.reading import IdentityPolicy, MappedReading, ReadingProblem
from tests.unit.mapping.payloads import (
    ENTRIES,
    HEAD,
    RECEIVED,
    SELECT,
    TIME,
    mapping,
    problem,
    reading,
    results,
)

BLOOD_PRESSURE = """
observations:
  - name: blood-pressure
    type: blood-pressure
    components:
      - {name: systolic, type: systolic, value: sys, unit: {from: unit}}
      - {name: diastolic, type: diastolic, value: dia, unit: {from: unit}}
"""


def absent_reason(element: Any) -> str:
    return str(element["dataAbsentReason"]["coding"][0]["code"])


def quantity(found: MappedReading) -> Any:
    return found.resource["valueQuantity"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(72, "72"), (Decimal("72.50"), "72.50"), ("72.0", "72.0"), (" 72 ", "72"), ("7.2e1", "72")],
)
def test_a_number_keeps_its_digits(value: Any, shown: str) -> None:
    assert str(quantity(reading({"hr": value}))["value"]) == shown


def test_a_comparator_is_kept() -> None:
    assert quantity(reading({"hr": "<30"})) == {
        "value": 30, "comparator": "<", "unit": "beats/minute",
        "system": "http://unitsofmeasure.org", "code": "/min",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "not-a-number"),
        (float("nan"), "not-a-number"),
        (Decimal("NaN"), "not-a-number"),
        ("+INF", "positive-infinity"),
        ("Infinity", "positive-infinity"),
        (float("-inf"), "negative-infinity"),
        ("-INF", "negative-infinity"),
        ("NRes", "error"),
    ],
)
def test_a_special_float_is_a_reason_in_place_of_the_value(value: Any, reason: str) -> None:
    resource = reading({"hr": value}).resource
    assert absent_reason(resource) == reason
    assert "valueQuantity" not in resource


@pytest.mark.parametrize(
    "value", [True, [], {}, "seventy", "72,5", "0x48", "1" * 50, 10**40, "1e99", "\u0667\u0662"]
)
def test_a_value_that_is_no_number_is_a_problem_that_names_the_place_and_not_the_value(value: Any) -> None:
    found = problem({"hr": value})
    assert (found.reason, found.mapping, found.field, found.place) == (
        "malformed",
        "device",
        "observations[0].value",
        "hr",
    )
    assert str(value) not in found.text or value in ([], {})


@pytest.mark.parametrize("value", [0, 401, -5, "1e9", "72000"])
def test_an_impossible_value_is_a_problem_that_never_shows_it(value: Any) -> None:
    found = problem({"hr": value})
    assert (found.code, found.reason, found.place) == ("value", "impossible-value", "hr")
    assert "(1 to 400 /min)" in found.text


def test_an_unknown_unit_is_a_problem_with_candidates() -> None:
    observations = "observations: [{name: w, type: body-weight, value: w, unit: {from: u}}]"
    found = problem({"w": 70, "u": "catty"}, observations)
    assert (found.code, found.reason, found.field, found.place) == (
        "code-invalid",
        "unknown-unit",
        "observations[0].unit",
        "u",
    )
    assert {"kg", "[lb_av]", "g"} <= set(found.candidates)
    assert "catty" not in found.text


def test_a_missing_unit_is_a_problem() -> None:
    observations = "observations: [{name: w, type: body-weight, value: w, unit: {from: u}}]"
    assert problem({"w": 70}, observations).reason == "missing-field"


def test_a_unit_may_be_an_alias_of_the_mapping() -> None:
    observations = (
        "units: {catty: '[lb_av]'}\nobservations: [{name: w, type: body-weight, value: w, unit: {from: u}}]"
    )
    assert str(quantity(reading({"w": 150, "u": "catty"}, observations))["value"]) == "68.0"


def test_another_unit_of_the_profile_may_be_the_target_and_the_range_follows() -> None:
    observations = "observations: [{name: t, type: body-temperature, value: t, unit: C, to: '[degF]'}]"
    assert quantity(reading({"t": Decimal("37.0")}, observations))["code"] == "[degF]"
    assert problem({"t": 51}, observations).reason == "impossible-value"


def test_a_component_that_is_missing_says_so_and_both_missing_is_no_reading() -> None:
    resource: dict[str, Any] = dict(reading({"sys": 120, "unit": "mmHg"}, BLOOD_PRESSURE).resource)
    systolic, diastolic = resource["component"]
    assert systolic["valueQuantity"]["value"] == 120
    assert absent_reason(diastolic) == "unknown"
    assert problem({"unit": "mmHg"}, BLOOD_PRESSURE).reason == "missing-field"


@pytest.mark.parametrize("group", ["time", "{by: id}"])
def test_entries_of_one_group_are_one_panel_and_others_stand_alone(group: str) -> None:
    first, second = "2026-03-02T07:00:00Z", "2026-03-02T08:00:00Z"
    entries = [
        {"code": "sys", "v": 120, "at": first, "id": "a"},
        {"code": "hr", "v": 60, "at": first, "id": "a"},
        {"code": "sys", "v": 130, "at": second, "id": "b"},
        {"code": "dia", "v": 80, "at": first, "id": "a"},
    ]
    found = results({"entries": entries}, ENTRIES.replace("GROUP", group), head=SELECT, time=TIME)
    assert all(isinstance(each, MappedReading) for each in found)
    panels = [each for each in found if isinstance(each, MappedReading) and each.name == "blood-pressure"]
    components: list[Any] = [each.resource["component"] for each in panels]
    values = [[part.get("valueQuantity", {}).get("value") for part in parts] for parts in components]
    assert values == [[120, 80], [130, None]]
    assert len(found) == 3


def test_entries_that_contradict_each_other_are_a_problem_and_the_others_are_mapped() -> None:
    at = "2026-03-02T07:00:00Z"
    entries = [
        {"code": "sys", "v": 120, "at": at},
        {"code": "sys", "v": 121, "at": at},
        {"code": "hr", "v": 60, "at": at},
    ]
    found = results({"entries": entries}, ENTRIES.replace("GROUP", "time"), head=SELECT, time=TIME)
    assert [type(each) for each in found] == [ReadingProblem, MappedReading]


def test_one_bad_reading_affects_no_other_and_each_problem_names_its_place() -> None:
    head = HEAD.replace("value: id}", "value: payload().id}") + "select: ['days[]', 'readings[]']\n"
    payload = {
        "days": [
            {"readings": [{"hr": 61}, {"hr": "x"}]},
            {"readings": [{"hr": 9999}, {"other": 1}, {"hr": 64}]},
        ]
    }
    found = results(payload, head=head)
    values = [quantity(each)["value"] for each in found if isinstance(each, MappedReading)]
    problems = [(each.reason, each.place) for each in found if isinstance(each, ReadingProblem)]
    assert values == [61, 64]
    assert problems == [
        ("malformed", "days[0].readings[1].hr"),
        ("impossible-value", "days[1].readings[0].hr"),
        ("missing-field", "days[1].readings[1]"),
    ]


def test_a_key_that_is_no_name_is_not_shown_in_a_place() -> None:
    head = HEAD.replace("value: id}", "value: payload().id}") + "select: values(by)\n"
    found = problem({"by": {"Jane Doe, 1980": {"hr": 0}}}, head=head)
    assert found.place == "by.*.hr"


def test_the_device_and_the_patient_are_named_with_policy_and_what_they_have() -> None:
    head = """
name: device
match: kind == 'device'
device:
  identifier: {system: 'http://example.org/devices', value: id}
  policy: create
  manufacturer: Acme
  model: {from: model, words: {X1: Model X1}}
  type: [{system: mdc, code: 4103, partition: 8}]
patient: {identifier: {system: 'http://example.org/p', value: who}, policy: lookup, family: {from: name}}
encounter: {identifier: {system: 'http://example.org/e', value: visit}}
gateway: {identifier: {system: 'http://example.org/g', value: gate}}
discriminator: seq
"""
    found = reading(
        {"hr": 72, "model": "X1", "who": 7, "name": "Doe", "visit": "v", "gate": "g", "seq": 12}, head=head
    )
    assert found.device.policy is IdentityPolicy.CREATE
    assert found.device.resource["modelNumber"] == "Model X1"
    assert found.device.resource["type"] == {
        "coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "528391"}]
    }
    assert found.patient == (
        ("http://example.org/p", "7"),
        IdentityPolicy.LOOKUP,
        {"name": [{"family": "Doe"}]},
    )
    assert found.encounter == ("http://example.org/e", "v")
    assert found.discriminator == "12"
    assert found.resource["extension"][0]["url"].endswith("observation-gatewayDevice")  # type: ignore[index]
    assert reading({"hr": 72}, head=head).patient is None


@pytest.mark.parametrize("device", [None, "", "  ", {"a": 1}, ["a"], "x" * 300, "a\u0000b", "\ud800"])
def test_a_reading_without_a_usable_device_is_a_problem(device: Any) -> None:
    (found,) = mapping().map({"hr": 72, "id": device}, RECEIVED)
    assert isinstance(found, ReadingProblem)
    assert found.field == "device.identifier.value"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, ""),
        (False, ""),
        ("", ""),
        (True, "corrected"),
        ("amended", "amended"),
        ("deleted", "entered-in-error"),
    ],
)
def test_a_correction_is_a_status(value: Any, status: str) -> None:
    head = HEAD + "correction: {value: fix, words: {deleted: entered-in-error}}\n"
    assert reading({"hr": 72, "fix": value}, head=head).correction == status


def test_a_word_that_the_mapping_does_not_know_is_a_problem_with_candidates() -> None:
    found = problem({"hr": 72, "fix": "perhaps"}, head=HEAD + "correction: {value: fix}\n")
    assert (found.reason, found.place) == ("unknown-code", "fix")
    assert "amended" in found.candidates


@pytest.mark.parametrize(
    ("rule", "value", "element"),
    [
        ("kind: integer", "12", {"valueInteger": 12}),
        ("kind: boolean", False, {"valueBoolean": False}),
        ("kind: string", "asleep", {"valueString": "asleep"}),
        (
            "kind: concept, codes: {l: [{system: snomed, code: 368208006}]}",
            "L",
            {"valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "368208006"}]}},
        ),
    ],
)
def test_other_kinds_of_values(rule: str, value: Any, element: dict[str, Any]) -> None:
    observations = f"observations: [{{name: x, code: [{{system: loinc, code: 1-8}}], value: x, {rule}}}]"
    resource = reading({"x": value}, observations).resource
    assert {key: resource[key] for key in element} == element


def test_a_value_that_is_null_although_the_reading_has_it_gets_the_reason_of_the_mapping() -> None:
    observations = (
        "observations: [{name: h, type: heart-rate, when: worn, value: hr, unit: bpm, absent: error}]"
    )
    assert absent_reason(reading({"worn": True, "hr": None}, observations).resource) == "error"


def test_a_bmi_has_a_value_since_its_profile_has_no_room_for_a_reason() -> None:
    observations = "observations: [{name: b, type: body-mass-index, value: bmi, unit: kg/m2}]"
    assert problem({"bmi": "NaN"}, observations).reason == "missing-field"
