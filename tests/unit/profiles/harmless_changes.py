"""Changes of an example that break no rule of its profile."""

import copy
from decimal import Decimal
from typing import Any

from tests.unit.profiles.changes import ABSENT, Change, replace
from tests.unit.profiles.examples import Json, concept, quantity


def _coding_added(fields: Json) -> str:
    fields["code"]["coding"].append({"system": "urn:iso:std:iso:11073:10101", "code": "147842"})
    return ""


def _coding_first(fields: Json) -> str:
    fields["code"]["coding"].insert(0, {"system": "http://example.org/local", "code": "x1"})
    return ""


def _component_added(fields: Json) -> str:
    part = {"code": concept("8478-0"), "valueQuantity": quantity("93", "mmHg", "mm[Hg]")}
    fields.setdefault("component", []).append(part)
    return ""


def _components_swapped(fields: Json) -> str | None:
    if len(fields.get("component", ())) < 2:
        return None
    fields["component"].reverse()
    return ""


def _absent(fields: Json) -> str | None:
    if "valueQuantity" not in fields or fields["meta"]["profile"][0].endswith("bmi"):
        return None
    del fields["valueQuantity"]
    fields["dataAbsentReason"] = ABSENT
    return ""


def _absent_component(fields: Json) -> str | None:
    if "component" not in fields:
        return None
    del fields["component"][0]["valueQuantity"]
    fields["component"][0]["dataAbsentReason"] = ABSENT
    return ""


def _fahrenheit(fields: Json) -> str | None:
    if fields.get("valueQuantity", {}).get("code") != "Cel":
        return None
    fields["valueQuantity"] = quantity("98.6", "F", "[degF]")
    return ""


def _comparator(fields: Json) -> str | None:
    if "valueQuantity" not in fields:
        return None
    fields["valueQuantity"]["comparator"] = ">="
    return ""


def _digits(fields: Json) -> str | None:
    if "valueQuantity" not in fields:
        return None
    fields["valueQuantity"]["value"] = Decimal("71.25")
    return ""


def _added(**elements: Any) -> Change:
    def change(fields: Json) -> str:
        fields.update(copy.deepcopy(elements))
        return ""

    return change


def _category_added(fields: Json) -> str:
    fields["category"].insert(0, {"text": "home monitoring"})
    return ""


def _category_text_added(fields: Json) -> str:
    fields["category"][0]["text"] = "Vital Signs"
    return ""


HARMLESS: dict[str, Change] = {
    "added-coding": _coding_added,
    "added-coding-first": _coding_first,
    "added-text": lambda fields: fields["code"].update(text="a measurement") or "",
    "added-component": _component_added,
    "swapped-components": _components_swapped,
    "added-category": _category_added,
    "added-category-text": _category_text_added,
    "absent": _absent,
    "absent-component": _absent_component,
    "fahrenheit": _fahrenheit,
    "comparator": _comparator,
    "digits": _digits,
    "period": lambda fields: (
        replace("", "effectiveDateTime", effectivePeriod={"start": "2026-03", "end": "2026-04-01T00:00:00Z"})(
            fields
        )
        and ""
    ),
    "date-only": _added(effectiveDateTime="2026-03-01"),
    "issued": _added(issued="2026-03-01T08:00:01.123Z"),
    "note": _added(note=[{"text": "after a rest"}]),
    "identifier": _added(identifier=[{"system": "http://example.org/readings", "value": "7"}]),
    "unknown-extension": _added(extension=[{"url": "http://example.org/e", "valueString": "x"}]),
    "status-extension": _added(_status={"extension": [{"url": "http://example.org/e", "valueString": "x"}]}),
    "range": _added(referenceRange=[{"low": quantity("1", "kg", "kg"), "high": quantity("9", "kg", "kg")}]),
    "interpretation": _added(interpretation=[{"text": "normal"}]),
    "site-and-method": _added(bodySite={"text": "wrist"}, method={"text": "cuff"}),
    "contained-patient": _added(
        subject={"reference": "#p"}, contained=[{"resourceType": "Patient", "id": "p"}]
    ),
    "absolute-subject": _added(subject={"reference": "https://ehr.example/fhir/Patient/ana"}),
    "logical-subject": _added(
        subject={"type": "Patient", "identifier": {"system": "http://example.org/mrn", "value": "7"}}
    ),
    "device-metric": _added(device={"reference": "DeviceMetric/m"}),
    "amended": _added(status="amended"),
}
