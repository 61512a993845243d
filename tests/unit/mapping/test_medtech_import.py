"""The import of MedTech templates: an imported mapping gives what the templates define."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.mapping.reading import MappedReading, Merge, ReadingProblem
from tests.unit.mapping.medtech_templates import (
    AT,
    CODES,
    LOINC,
    SERVICE,
    SYSTEMS,
    content,
    fhir,
    imported,
    jmespath,
    mapped,
    quantities,
    readings,
)


def test_a_value_becomes_the_quantity_of_the_fhir_template_with_codes_identity_and_time() -> None:
    payload = {
        "Body": {"hr": 61.50, "device": "d-1", "at": "2026-03-02T08:00:00.1234567Z", "who": "p", "enc": 7}
    }
    parts = {"patientIdExpression": "$.who", "encounterIdExpression": "$.enc"}
    category = [{"codes": [{"code": "vital-signs", "system": "http://example.org/category"}]}]
    (reading,) = readings([content("hr", **parts)], [fhir("HR", category=category)], payload)
    assert reading.device.identifier == (SYSTEMS.device, "d-1")
    assert reading.patient is not None
    assert reading.patient.identifier == (SYSTEMS.patient, "p")
    assert reading.encounter == (SYSTEMS.encounter, "7")
    assert reading.start == reading.end == datetime(2026, 3, 2, 8, 0, 0, 123456, tzinfo=UTC)
    assert reading.resource["code"] == {
        "text": "hr",
        "coding": [
            {"system": LOINC, "code": "1-8", "display": "HR"},
            {"system": SERVICE, "code": "hr", "display": "hr"},
        ],
    }
    assert reading.resource["category"] == [
        {"coding": [{"system": "http://example.org/category", "code": "vital-signs"}]}
    ]
    assert reading.resource["valueQuantity"] == {
        "value": Decimal("61.5"), "unit": "count/min", "system": "http://unitsofmeasure.org", "code": "/min",
    }  # fmt: skip


def test_a_time_without_offset_is_utc() -> None:
    payload = {"hr": 61, "device": "d-1", "at": "2026-03-02T08:00:00"}
    (reading,) = readings([content("hr")], [fhir("hr")], payload)
    assert reading.start == datetime(2026, 3, 2, 8, tzinfo=UTC)


def test_each_object_that_matches_is_a_reading_and_several_templates_may_match_a_payload() -> None:
    payload = {
        "list": [
            {"hr": 61, "device": "d-1", "at": "2026-03-02T08:00:00Z"},
            {"hr": 62, "steps": 10, "device": "d-1", "at": "2026-03-02T08:01:00Z"},
        ]
    }
    found = readings([content("hr"), content("steps")], [fhir("hr"), fhir("steps")], payload)
    assert quantities(found) == [61, 62, 10]


def test_a_filter_that_compares_is_kept() -> None:
    parts: dict[str, Any] = {"typeMatchExpression": "$..[?(@kind == 'hr' && @v > 0)]", "values": [
        {"required": True, "valueExpression": "$['v']", "valueName": "v"}
    ]}  # fmt: skip
    payload = {"list": [{"kind": kind, "v": v, "device": "d", "at": "2026-03-02T08:00:00Z"} for kind, v in
                        [("hr", 61), ("hr", 0), ("spo2", 97)]]}  # fmt: skip
    assert quantities(readings([content("hr", **parts)], [fhir("hr")], payload)) == [61]


@pytest.mark.parametrize(
    "properties",
    [
        {"Properties": {"iothub-creation-time-utc": "2026-03-02T08:00:00Z"}},
        {"Properties": {}, "alternative": True},
    ],
)
def test_an_iot_hub_template_takes_device_and_time_from_the_hub(properties: dict[str, Any]) -> None:
    system = {"iothub-connection-device-id": "d-1"}
    if properties.pop("alternative", False):
        system["iothub-enqueuedtime"] = "2026-03-02T08:00:00Z"
    template = content(
        "hr",
        "IotJsonPathContentTemplate",
        typeMatchExpression="$..[?(@Body.hr)]",
        values=[{"required": True, "valueExpression": "$.Body.hr", "valueName": "v"}],
    )
    del template["template"]["deviceIdExpression"], template["template"]["timestampExpression"]
    payload = {"Body": {"hr": 61}, "SystemProperties": system, **properties}
    (reading,) = readings([template], [fhir("hr")], payload)
    assert (reading.device.identifier.value, reading.start.hour) == ("d-1", 8)
    assert quantities([reading]) == [61]


def test_an_iot_central_template_takes_device_and_time_from_the_message() -> None:
    template = content(
        "hr",
        "IotCentralJsonPathContent",
        typeMatchExpression="$..[?(@telemetry.HeartRate)]",
        values=[{"required": True, "valueExpression": "$.telemetry.HeartRate", "valueName": "v"}],
    )
    del template["template"]["deviceIdExpression"], template["template"]["timestampExpression"]
    payload = {"deviceId": "d-1", "enqueuedTime": "2026-03-02T08:00:00.875Z", "telemetry": {"HeartRate": 61}}
    (reading,) = readings([template], [fhir("hr")], payload)
    assert (reading.device.identifier.value, quantities([reading])) == ("d-1", [61])


def test_calculated_content_sees_the_payload_and_what_was_matched() -> None:
    template = content(
        "hr",
        "CalculatedContent",
        typeMatchExpression="$..[?(@hr)]",
        deviceIdExpression="$.device",
        timestampExpression="$.matchedToken.at",
        values=[{"required": True, "valueExpression": "$.matchedToken.hr", "valueName": "v"}],
    )
    payload = {
        "device": "d-1",
        "list": [{"hr": 61, "at": "2026-03-02T08:00:00Z"}, {"hr": 62, "at": "2026-03-02T09:00:00Z"}],
    }
    found = readings([template], [fhir("hr")], payload)
    assert quantities(found) == [61, 62]
    assert [each.device.identifier.value for each in found] == ["d-1", "d-1"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("add(matchedToken.v, `2`)", 12),
        ("subtract(matchedToken.v, `2`)", 8),
        ("multiply(matchedToken.v, `2.5`)", 25),
        ("divide(matchedToken.v, `4`)", Decimal("2.5")),
        ("pow(matchedToken.v, `2`)", 100),
        ("divide(subtract(matchedToken.f, `32`), `1.8`)", 37),
        ("to_number(insertString('37', '.0', `2`))", 37),
    ],
)
def test_the_functions_of_calculated_content_compute_as_there(expression: str, value: object) -> None:
    template = content(
        "hr",
        "CalculatedContent",
        typeMatchExpression=jmespath("list[?v]"),
        timestampExpression=jmespath("fromUnixTimestampMs(matchedToken.ms)"),
        defaultExpressionLanguage="JmesPath",
        deviceIdExpression="device",
        values=[{"required": True, "valueExpression": expression, "valueName": "v"}],
    )
    payload = {"device": "d", "list": [{"v": 10, "f": 98.6, "ms": 1_772_438_400_500}]}
    (reading,) = readings([template], [fhir("hr")], payload)
    assert quantities([reading]) == [value]
    assert reading.start == datetime(2026, 3, 2, 8, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "sent", "element"),
    [
        ({"valueType": "String"}, "resting", {"valueString": "resting"}),
        (
            {"valueType": "CodeableConcept", "text": "worn", "codes": [{"code": "w", "system": CODES}]},
            True,
            {"valueCodeableConcept": {"coding": [{"system": CODES, "code": "w"}], "text": "worn"}},
        ),
        (
            {"valueType": "SampledData", "defaultPeriod": 20, "unit": "mV"},
            "1 2 E 3",
            {"valueSampledData": {"origin": {"value": 0, "unit": "mV"}, "period": 20, "dimensions": 1,
                                  "data": "1 2 E 3"}},
        ),
        (
            {"valueType": "SampledData", "defaultPeriod": 1000, "unit": "count"},
            61,
            {"valueSampledData": {"origin": {"value": 0, "unit": "count"}, "period": 1000, "dimensions": 1,
                                  "data": "61"}},
        ),
        ({"valueType": "Quantity", "unit": "points"}, "3.50",
         {"valueQuantity": {"value": Decimal("3.50"), "unit": "points"}}),
    ],
)  # fmt: skip
def test_each_type_of_value_becomes_what_the_template_says(
    value: dict[str, Any], sent: object, element: Any
) -> None:
    payload = {"x": sent, "device": "d", "at": "2026-03-02T08:00:00Z"}
    (reading,) = readings([content("x")], [fhir("x", value)], payload)
    assert {key: reading.resource[key] for key in element} == element


def test_components_are_those_that_the_reading_has() -> None:
    values = [
        {"required": True, "valueExpression": "$.bp.sys", "valueName": "sys"},
        {"required": False, "valueExpression": "$.bp.dia", "valueName": "dia"},
    ]
    components = [
        {
            "codes": [{"code": "8480-6", "system": LOINC}],
            "value": {"valueType": "Quantity", "valueName": "sys"},
        },
        {
            "codes": [{"code": "8462-4", "system": LOINC}],
            "value": {"valueType": "Quantity", "valueName": "dia"},
        },
    ]
    template = fhir("bp", components=components)
    del template["template"]["value"]
    payload = {"bp": {"sys": 120}, "device": "d", "at": "2026-03-02T08:00:00Z"}
    (reading,) = readings([content("bp", values=values)], [template], payload)
    resource: dict[str, Any] = dict(reading.resource)
    (component,) = resource["component"]
    assert component["code"]["coding"][0]["code"] == "8480-6"
    assert component["valueQuantity"] == {"value": 120}


def test_a_required_value_that_is_missing_is_a_problem() -> None:
    values = [{"required": True, "valueExpression": "$.other", "valueName": "v"}]
    (problem,) = mapped(
        imported([content("hr", values=values)], [fhir("hr")]),
        {"hr": 61, "device": "d", "at": "2026-03-02T08:00:00Z"},
    )
    assert isinstance(problem, ReadingProblem)
    assert problem.reason == "missing-field"


@pytest.mark.parametrize(
    ("interval", "window"), [(60, "hour"), ("Hourly", "hour"), (1440, "day"), ("Daily", "day")]
)
def test_the_readings_of_a_period_are_merged(interval: object, window: str) -> None:
    sampled = {"valueType": "SampledData", "defaultPeriod": 1000, "unit": "count/min"}
    payload = {"hr": 61, "device": "d", "at": "2026-03-02T08:00:00Z"}
    (reading,) = readings([content("hr")], [fhir("hr", sampled, periodInterval=interval)], payload)
    assert reading.merge == Merge(window, "")


@pytest.mark.parametrize("interval", [0, "Single", None])
def test_components_of_one_time_are_merged_and_a_single_value_is_not(interval: object) -> None:
    components = [{"codes": [{"code": "8480-6"}], "value": {"valueType": "Quantity", "valueName": "v"}}]
    members: dict[str, Any] = {} if interval is None else {"periodInterval": interval}
    payload = {"hr": 61, "device": "d", "at": "2026-03-02T08:00:00Z"}
    (single,) = readings([content("hr")], [fhir("hr", **members)], payload)
    assert single.merge is None
    template = fhir("hr", components=components, **members)
    del template["template"]["value"]
    (merged,) = readings([content("hr")], [template], payload)
    assert merged.merge == Merge("time", "")


def test_several_content_templates_of_one_type_share_its_values() -> None:
    contents = [
        content(
            "BP" if name == "sys" else "bp",
            typeMatchExpression=f"$..[?(@{name})]",
            values=[{"required": True, "valueExpression": f"$.{name}", "valueName": name}],
        )
        for name in ("sys", "dia")
    ]
    components = [
        {"codes": [{"code": name, "system": CODES}], "value": {"valueType": "Quantity", "valueName": name}}
        for name in ("sys", "dia", "mean")
    ]
    template = fhir("bp", components=components)
    del template["template"]["value"]
    result = imported(contents, [template])
    assert [each.text for each in result.left_out] == [
        "the device content has no value of the name mean."
    ] * 2
    found = mapped(result, {"list": [{"sys": 120, **AT}, {"dia": 80, **AT}]})
    assert [each.name for each in found if isinstance(each, MappedReading)] == ["bp", "bp"]
    assert [each.merge for each in found if isinstance(each, MappedReading)] == [Merge("time", "")] * 2


def test_readings_with_one_correlation_id_are_merged() -> None:
    values = [
        {"required": False, "valueExpression": "$.sys", "valueName": "sys"},
        {"required": False, "valueExpression": "$.dia", "valueName": "dia"},
    ]
    parts: dict[str, Any] = {
        "typeMatchExpression": "$..[?(@session)]",
        "correlationIdExpression": "$.session",
        "values": values,
    }
    components = [
        {"codes": [{"code": code, "system": LOINC}], "value": {"valueType": "Quantity", "valueName": name}}
        for code, name in (("8480-6", "sys"), ("8462-4", "dia"))
    ]
    template = fhir("bp", components=components, periodInterval=-1)
    del template["template"]["value"]
    at = {"device": "d", "at": "2026-03-02T08:00:00Z"}
    payload = {
        "list": [
            {"session": "1", "sys": 120, **at},
            {"session": "2", "sys": 130, **at},
            {"session": "1", "dia": 80, **at},
        ]
    }
    found = readings([content("bp", **parts)], [template], payload)
    values_of = [
        [component["valueQuantity"]["value"] for component in each.resource["component"]]  # type: ignore[attr-defined]
        for each in found
    ]
    assert values_of == [[120], [130], [80]]
    assert [each.merge for each in found] == [Merge("", key) for key in ("1", "2", "1")]
