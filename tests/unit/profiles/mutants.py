"""Single faults and harmless changes of the examples: what a profile must refuse, and what it must not.

`mutants` and `harmless` are deterministic. The default suite judges them with the broker's compiler,
`tests/validation` with HL7's validator too.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.unit.profiles.changes import ABSENT, Change, replace
from tests.unit.profiles.examples import Json, concept, quantity
from tests.unit.profiles.harmless_changes import HARMLESS

_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


class Variant(NamedTuple):
    """A changed example. `path` is that of the element to correct, or of one around it; '' for a harmless
    change.
    """

    name: str
    fields: Json
    path: str = ""


def mutants(name: str, fields: Json) -> Iterator[Variant]:
    """Each fault that applies to the example."""
    for label, change in _faults(fields):
        yield from _changed(f"{name}-{label}", fields, change, is_fault=True)


def harmless(name: str, fields: Json) -> Iterator[Variant]:
    """Each harmless change that applies to the example."""
    for label, change in HARMLESS.items():
        yield from _changed(f"{name}-{label}", fields, change, is_fault=False)


def _changed(name: str, fields: Json, change: Change, *, is_fault: bool) -> Iterator[Variant]:
    mutant = copy.deepcopy(fields)
    path = change(mutant)
    if path is not None:
        yield Variant(name, mutant, path if is_fault else "")


def _faults(fields: Json) -> Iterator[tuple[str, Change]]:
    yield from _FAULTS.items()
    for path in _quantities(fields) if _has_fixed_code(fields) else ():
        label = "-".join(str(step) for step in path)
        for part, change in _QUANTITY_FAULTS.items():
            yield f"{label}-{part}", _at(path, change)


def _quantities(fields: Json) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [("valueQuantity",)] if "valueQuantity" in fields else []
    for n, component in enumerate(fields.get("component", ())):
        if "valueQuantity" in component:
            found.append(("component", n, "valueQuantity"))
    return found


def _at(path: Sequence[Any], change: Callable[[Json], str]) -> Change:
    def apply(fields: Json) -> str:
        value: Any = fields
        shown = "Observation"
        for step in path:
            value = value[step]
            shown += f"[{step}]" if isinstance(step, int) else f".{step}"
        inner = change(value)
        return f"{shown}.{inner}" if inner else shown

    return apply


def _without(part: str) -> Callable[[Json], str]:
    def change(value: Json) -> str:
        del value[part]
        return part

    return change


def _with(part: str, other: Any) -> Callable[[Json], str]:
    def change(value: Json) -> str:
        value[part] = other
        return part

    return change


_QUANTITY_FAULTS: dict[str, Callable[[Json], str]] = {
    "without-value": _without("value"),
    "without-unit": _without("unit"),
    "without-system": _without("system"),
    "without-code": _without("code"),
    "wrong-code": _with("code", "fathom"),
    "wrong-system": _with("system", "http://example.org/units"),
    "wrong-comparator": _with("comparator", "!="),
}


def _remove(name: str, path: str = "") -> Change:
    def change(fields: Json) -> str | None:
        if name not in fields:
            return None
        del fields[name]
        return f"Observation.{path or name}"

    return change


def _set(path: str, **elements: Any) -> Change:
    def change(fields: Json) -> str:
        fields.update(copy.deepcopy(elements))
        return f"Observation.{path}" if path else "Observation"

    return change


def _contained(kind: str, name: str, path: str, *, is_list: bool = False) -> Change:
    """A reference to a contained resource of a type that may not be there."""
    contained: Json = {"resourceType": kind, "id": "c"}
    if kind == "Group":
        contained |= {"type": "person", "actual": True}
    reference = {"reference": "#c"}
    return _set(path, **{name: [reference] if is_list else reference, "contained": [contained]})


def _coding_of_code(**members: Any) -> Change:
    def change(fields: Json) -> str:
        for coding in fields["code"]["coding"]:
            coding.update(members)
        return "Observation.code"

    return change


def _text_only(fields: Json) -> str:
    fields["code"] = {"text": "a measurement"}
    return "Observation.code"


def _category(*concepts: Any) -> Change:
    return _set("category", category=list(concepts))


def _repeat_component(fields: Json) -> str | None:
    if len(fields.get("component", ())) < 2:
        return None
    fields["component"].append(copy.deepcopy(fields["component"][0]))
    return "Observation.component"


def _one_component(fields: Json) -> str | None:
    if len(fields.get("component", ())) < 2:
        return None
    del fields["component"][1]
    return "Observation.component"


def _empty_component(fields: Json) -> str | None:
    if "component" not in fields:
        return None
    del fields["component"][0]["valueQuantity"]
    return "Observation.component[0]"


def _other_component(fields: Json) -> str | None:
    if len(fields.get("component", ())) < 2:
        return None
    fields["component"][0]["code"] = concept("8478-0")
    return "Observation.component"


def _component_with_the_own_code(fields: Json) -> str | None:
    if "valueQuantity" not in fields:
        return None
    fields.setdefault("component", []).append(
        {"code": copy.deepcopy(fields["code"]), "valueQuantity": copy.deepcopy(fields["valueQuantity"])}
    )
    return "Observation"


def _value_and_reason(fields: Json) -> str | None:
    if "valueQuantity" not in fields:
        return None
    fields["dataAbsentReason"] = ABSENT
    return "Observation.dataAbsentReason"


def _value_of_a_panel(fields: Json) -> str | None:
    if "valueQuantity" in fields or "vitalsigns" in fields["meta"]["profile"][0]:
        return None
    fields["valueQuantity"] = quantity("1", "1", "1")
    return "Observation.valueQuantity"


def _has_fixed_code(fields: Json) -> bool:
    return not fields["meta"]["profile"][0].endswith(("/vitalsigns", "/vitalspanel"))


def _only_of_a_measurement(change: Change) -> Change:
    return lambda fields: change(fields) if _has_fixed_code(fields) else None


def _only_of_vital_signs(change: Change) -> Change:
    """Only profiles that derive from vitalsigns."""
    return lambda fields: None if "average" in fields["meta"]["profile"][0] else change(fields)


def _second_category_coding(fields: Json) -> str:
    """The codings of the slice have fixed system and code, all of them."""
    fields["category"][0]["coding"].append({"system": "http://example.org/local", "code": "vitals"})
    return "Observation.category[0].coding[1]"


_FAULTS: dict[str, Change] = {
    "without-status": _remove("status"),
    "without-category": _remove("category"),
    "without-code": _remove("code"),
    "without-subject": _remove("subject"),
    "without-effective": _remove("effectiveDateTime", "effective"),
    "without-value": replace("", "valueQuantity", "component"),
    "without-components": _only_of_a_measurement(_one_component),
    "wrong-status": _set("status", status="done"),
    "wrong-category": _category({"coding": [{"system": _CATEGORY, "code": "laboratory"}]}),
    "wrong-category-system": _category({"coding": [{"system": "urn:x", "code": "vital-signs"}]}),
    "category-without-code": _category({"coding": [{"system": _CATEGORY}]}),
    "category-as-text": _category({"text": "Vital Signs"}),
    "two-vital-signs-categories": _category(
        *({"coding": [{"system": _CATEGORY, "code": "vital-signs"}]} for _ in range(2))
    ),
    "wrong-code": _only_of_a_measurement(_coding_of_code(code="8867-5")),
    "wrong-code-system": _only_of_a_measurement(_coding_of_code(system="http://snomed.info/sct")),
    "code-as-text": _only_of_a_measurement(_text_only),
    "repeated-component": _only_of_a_measurement(_repeat_component),
    "empty-component": _empty_component,
    "other-component": _only_of_a_measurement(_other_component),
    "value-and-reason": _value_and_reason,
    "own-code-in-component": _component_with_the_own_code,
    "value-of-a-panel": _value_of_a_panel,
    "value-as-text": _only_of_a_measurement(replace("valueString", "valueQuantity", valueString="72")),
    "value-as-range": _only_of_a_measurement(
        replace("valueRange", "valueQuantity", valueRange={"low": quantity("1", "x", "1")})
    ),
    "group-subject": _set("subject", subject={"reference": "Group/g"}),
    "absolute-device-subject": _set("subject", subject={"reference": "http://ehr.example/fhir/Device/d"}),
    "subject-by-type": _set("subject", subject={"type": "Location", "display": "ward"}),
    "device-performer": _set("performer[0]", performer=[{"reference": "Device/d"}]),
    "patient-device": _set("device", device={"reference": "Patient/ana"}),
    "patient-encounter": _set("encounter", encounter={"reference": "Patient/ana"}),
    "device-specimen": _set("specimen", specimen={"reference": "Device/d"}),
    "patient-member": _set("hasMember[0]", hasMember=[{"reference": "Patient/ana"}]),
    "patient-source": _set("derivedFrom[0]", derivedFrom=[{"reference": "Patient/ana"}]),
    "contained-group-subject": _contained("Group", "subject", "subject"),
    "contained-device-performer": _contained("Device", "performer", "performer[0]", is_list=True),
    "contained-patient-device": _contained("Patient", "device", "device"),
    "contained-patient-encounter": _contained("Patient", "encounter", "encounter"),
    "contained-patient-member": _contained("Patient", "hasMember", "hasMember[0]", is_list=True),
    "contained-and-unused": _set("", contained=[{"resourceType": "Patient", "id": "p"}]),
    "short-date": _only_of_vital_signs(_set("effectiveDateTime", effectiveDateTime="2026-03")),
    "effective-instant": replace(
        "effectiveInstant", "effectiveDateTime", effectiveInstant="2026-03-01T08:00:00Z"
    ),
    "effective-timing": replace(
        "effectiveTiming", "effectiveDateTime", effectiveTiming={"event": ["2026-03-01"]}
    ),
    "period-backwards": replace(
        "effectivePeriod",
        "effectiveDateTime",
        effectivePeriod={"start": "2026-03-02T08:00:00Z", "end": "2026-03-01T08:00:00Z"},
    ),
    "empty-range": _set("referenceRange[0]", referenceRange=[{"appliesTo": [{"text": "adults"}]}]),
    "range-with-comparator": _set(
        "referenceRange[0].low",
        referenceRange=[{"low": quantity("1", "kg", "kg") | {"comparator": "<"}}],
    ),
    "range-without-system": _set(
        "referenceRange[0].low", referenceRange=[{"low": {"value": 1, "code": "kg"}}]
    ),
    "wrong-identifier-use": _set("identifier[0].use", identifier=[{"use": "mine", "value": "1"}]),
    "missing-contained": _set("subject", subject={"reference": "#p"}),
    "extension-without-value": _set("extension[0]", extension=[{"url": "http://example.org/e"}]),
    "extension-period-backwards": _set(
        "extension[0].valuePeriod",
        extension=[
            {"url": "http://example.org/e", "valuePeriod": {"start": "2026-03-02", "end": "2026-03-01"}}
        ],
    ),
    "second-coding-of-the-category": _second_category_coding,
    "unknown-element": _set("colour", colour="red"),
    "wrong-date": _set("effectiveDateTime", effectiveDateTime="2026-02-30T08:00:00Z"),
    "empty-id": _set("id", id=""),
}
