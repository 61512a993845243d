"""Profiles that the compiler was not written for: of personal health devices, of patient summaries, with
re-slices, closed and ordered slices, own invariants and extensions; differentials without snapshots.

Each has an example that meets it. `definitions` gives all definitions, also value sets and extensions.
"""

import copy
from typing import Any

from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import definition
from tests.unit.profiles.examples import Json, quantity

_OWN = "http://example.org/StructureDefinition/"
_MDC = "urn:iso:std:iso:11073:10101"
_GATEWAY, _FITTING = f"{_OWN}gateway-device", f"{_OWN}fitting"
_PANELS, _FINDINGS = "http://example.org/ValueSet/panels", "http://example.org/ValueSet/findings"
_RESULT = "http://example.org/CodeSystem/result"


def _e(element_id: str, **rules: Any) -> Json:
    path = ".".join(step.partition(":")[0] for step in element_id.split("."))
    slice_name = element_id.rpartition(".")[2].partition(":")[2]
    named: Json = {"sliceName": slice_name} if slice_name else {}
    return {"id": element_id, "path": path, **named, **rules}


def _slicing(kind: str, *paths: str, rules: str = "open", ordered: bool = False) -> Json:
    discriminators = [{"type": kind, "path": path} for path in paths]
    return {"discriminator": discriminators, "ordered": ordered, "rules": rules}


def _rule(key: str, expression: str) -> list[Json]:
    return [{"key": key, "severity": "error", "human": f"{key} holds", "expression": expression}]


def _extension(url: str, extensions: list[Json], value: Json) -> Json:
    """The elements of a definition have the order of their type."""
    return definition(
        url,
        f"{HL7}Extension",
        _e("Extension", min=0, max="*"),
        *extensions,
        _e("Extension.url", fixedUri=url),
        value,
        type="Extension",
        kind="complex-type",
        context=[{"type": "element", "expression": "Element"}],
    )


def _value_set(url: str, system: str, *codes: str) -> Json:
    include = [{"system": system, "concept": [{"code": code} for code in codes]}]
    return {"resourceType": "ValueSet", "url": url, "status": "active", "compose": {"include": include}}


def _code_system(url: str, *codes: str) -> Json:
    return {
        "resourceType": "CodeSystem",
        "url": url,
        "status": "active",
        "content": "complete",
        "concept": [{"code": code} for code in codes],
    }


def _device_reading() -> Json:
    o = "Observation"
    return definition(
        f"{_OWN}device-reading",
        f"{HL7}Observation",
        _e(f"{o}.extension", slicing=_slicing("value", "url"), min=1),
        _e(f"{o}.extension:gateway", min=1, max="1", type=[{"code": "Extension", "profile": [_GATEWAY]}]),
        _e(f"{o}.identifier", min=1),
        _e(f"{o}.identifier.system", min=1),
        _e(f"{o}.code.coding", slicing=_slicing("value", "system"), min=1),
        _e(f"{o}.code.coding:mdc", min=1, max="1"),
        _e(f"{o}.code.coding:mdc.system", min=1, fixedUri=_MDC),
        _e(f"{o}.code.coding:mdc.code", min=1),
        _e(f"{o}.code.coding:mdc.display", maxLength=20),
        _e(f"{o}.subject", min=1, type=[{"code": "Reference", "targetProfile": [f"{HL7}Patient"]}]),
        _e(f"{o}.effectiveDateTime", min=1),
        _e(f"{o}.valueQuantity", min=1),
        _e(f"{o}.valueQuantity.comparator", max="0"),
        _e(f"{o}.valueQuantity.system", min=1, fixedUri="http://unitsofmeasure.org"),
        _e(f"{o}.valueQuantity.code", min=1),
        _e(f"{o}.device", min=1),
        _e(f"{o}.component", max="0"),
    )


def _summary_result() -> Json:
    o = "Observation"
    panel = {"coding": [{"system": _RESULT, "code": "device"}]}
    return definition(
        f"{_OWN}summary-result",
        f"{HL7}Observation",
        _e(o, constraint=_rule("sum-1", "value.exists() implies interpretation.exists()")),
        _e(f"{o}.status", patternCode="final"),
        _e(f"{o}.category", slicing=_slicing("pattern", "$this", rules="closed"), min=1),
        _e(f"{o}.category:device", min=1, max="1", patternCodeableConcept=panel),
        _e(
            f"{o}.category:vitals",
            max="1",
            patternCodeableConcept={"coding": [{"system": _RESULT, "code": "vitals"}]},
        ),
        _e(f"{o}.code", binding={"strength": "required", "valueSet": _PANELS}),
        _e(f"{o}.subject", min=1),
        _e(f"{o}.subject.reference", min=1),
        _e(f"{o}.performer", min=1, max="2"),
        _e(
            f"{o}.value[x]",
            min=1,
            slicing=_slicing("type", "$this"),
            type=[{"code": "Quantity"}, {"code": "CodeableConcept"}],
        ),
        _e(
            f"{o}.value[x]:valueCodeableConcept",
            binding={"strength": "required", "valueSet": _FINDINGS},
            type=[{"code": "CodeableConcept"}],
        ),
        _e(f"{o}.note", max="0"),
        _e(f"{o}.referenceRange", max="1", constraint=_rule("sum-2", "low.exists() and high.exists()")),
        _e(f"{o}.component", constraint=_rule("sum-3", "value.ofType(Quantity).value > 0")),
        _e(f"{o}.component.value[x]", min=1, type=[{"code": "Quantity"}]),
    )


def _resliced() -> Json:
    o = "Observation"
    return definition(
        f"{_OWN}resliced",
        f"{HL7}Observation",
        _e(f"{o}.identifier", slicing=_slicing("value", "system", "use"), min=2),
        _e(f"{o}.identifier:device", slicing=_slicing("value", "use"), min=2),
        _e(f"{o}.identifier:device.use", min=1),
        _e(f"{o}.identifier:device.system", min=1, fixedUri="http://example.org/device"),
        _e(f"{o}.identifier:device/main", min=1, max="1"),
        _e(f"{o}.identifier:device/main.use", min=1, fixedCode="official"),
        _e(f"{o}.identifier:device/main.system", min=1, fixedUri="http://example.org/device"),
        _e(f"{o}.identifier:device/main.value", min=1),
        _e(f"{o}.identifier:device/other", max="1"),
        _e(f"{o}.identifier:device/other.use", min=1, fixedCode="secondary"),
        _e(f"{o}.identifier:device/other.system", min=1, fixedUri="http://example.org/device"),
        _e(f"{o}.identifier:device/other.period", min=1),
        _e(f"{o}.identifier:order", max="1"),
        _e(f"{o}.identifier:order.use", min=1, fixedCode="usual"),
        _e(f"{o}.identifier:order.system", min=1, fixedUri="http://example.org/order"),
        _e(f"{o}.identifier:order.assigner", min=1),
    )


def _ordered() -> Json:
    o, code = "Observation", {"system": _MDC}
    return definition(
        f"{_OWN}leads",
        f"{HL7}Observation",
        _e(f"{o}.method", min=1, max="1"),
        _e(f"{o}.method.text", min=1, fixedString="twelve leads"),
        _e(f"{o}.component", slicing=_slicing("value", "code", rules="openAtEnd", ordered=True), min=1),
        *(
            each
            for name, mdc in (("first", "131329"), ("second", "131330"))
            for each in (
                _e(f"{o}.component:{name}", min=1, max="1"),
                _e(f"{o}.component:{name}.code", patternCodeableConcept={"coding": [code | {"code": mdc}]}),
                _e(f"{o}.component:{name}.valueSampledData", min=1),
                _e(f"{o}.component:{name}.valueSampledData.lowerLimit", min=1),
            )
        ),
    )


def _by_existence() -> Json:
    o = "Observation"
    return definition(
        f"{_OWN}ranges",
        f"{HL7}Observation",
        _e(f"{o}.referenceRange", slicing=_slicing("exists", "appliesTo", rules="closed")),
        _e(f"{o}.referenceRange:general", min=1, max="1"),
        _e(f"{o}.referenceRange:general.appliesTo", max="0"),
        _e(f"{o}.referenceRange:special", max="1"),
        _e(f"{o}.referenceRange:special.appliesTo", min=1),
        _e(f"{o}.referenceRange:special.age", min=1),
    )


def _patient() -> Json:
    p = "Patient"
    return definition(
        f"{_OWN}enrolled-patient",
        f"{HL7}Patient",
        _e(f"{p}.extension", slicing=_slicing("value", "url")),
        _e(f"{p}.extension:fitting", min=1, max="1", type=[{"code": "Extension", "profile": [_FITTING]}]),
        _e(f"{p}.identifier", slicing=_slicing("value", "system", "type"), min=1),
        _e(f"{p}.identifier:mrn", min=1, max="1"),
        _e(
            f"{p}.identifier:mrn.type",
            min=1,
            patternCodeableConcept={"coding": [{"system": _RESULT, "code": "MR"}]},
        ),
        _e(f"{p}.identifier:mrn.system", min=1, fixedUri="http://example.org/mrn"),
        _e(f"{p}.identifier:mrn.value", min=1, maxLength=8),
        _e(f"{p}.name", min=1, constraint=_rule("enr-1", "family.exists() or text.exists()")),
        _e(f"{p}.name.given", max="2"),
        _e(f"{p}.telecom", slicing=_slicing("value", "system", rules="closed")),
        _e(f"{p}.telecom:phone", max="1"),
        _e(f"{p}.telecom:phone.system", min=1, fixedCode="phone"),
        _e(f"{p}.telecom:phone.value", min=1),
        _e(f"{p}.birthDate", min=1),
        _e(f"{p}.deceased[x]", type=[{"code": "boolean"}]),
        _e(f"{p}.contact.name", min=1),
        type="Patient",
    )


def _device() -> Json:
    d = "Device"
    coding = {"system": _MDC, "code": "65573"}
    return definition(
        f"{_OWN}health-device",
        f"{HL7}Device",
        _e(f"{d}.identifier", slicing=_slicing("value", "type.coding.code"), min=1),
        _e(f"{d}.identifier:system", min=1, max="1"),
        _e(f"{d}.identifier:system.type", min=1),
        _e(f"{d}.identifier:system.type.coding", min=1),
        _e(f"{d}.identifier:system.type.coding.code", min=1, fixedCode="SYSID"),
        _e(f"{d}.identifier:system.system", min=1),
        _e(f"{d}.manufacturer", min=1),
        _e(f"{d}.modelNumber", min=1),
        _e(f"{d}.type", min=1, patternCodeableConcept={"coding": [coding]}),
        _e(f"{d}.specialization", min=1),
        _e(f"{d}.version", slicing=_slicing("pattern", "type"), min=1),
        _e(f"{d}.version:firmware", min=1, max="1"),
        _e(f"{d}.version:firmware.type", min=1, patternCodeableConcept={"coding": [{"code": "531976"}]}),
        _e(f"{d}.parent", max="0"),
        type="Device",
    )


def definitions() -> list[Json]:
    device = [{"code": "Reference", "targetProfile": [f"{HL7}Device"]}]
    return [
        _code_system(_RESULT, "reading", "panel", "device", "vitals", "MR", "present", "absent", "peak"),
        _value_set(_PANELS, _RESULT, "reading", "panel"),
        _value_set(_FINDINGS, _RESULT, "present", "absent"),
        _extension(
            _GATEWAY, [_e("Extension.extension", max="0")], _e("Extension.value[x]", min=1, type=device)
        ),
        _extension(
            _FITTING,
            [
                _e("Extension.extension", slicing=_slicing("value", "url"), min=1),
                _e("Extension.extension:site", min=1, max="1"),
                _e("Extension.extension:site.url", fixedUri="site"),
                _e("Extension.extension:site.value[x]", min=1, type=[{"code": "code"}]),
                _e("Extension.extension:date", max="1"),
                _e("Extension.extension:date.url", fixedUri="date"),
                _e("Extension.extension:date.value[x]", min=1, type=[{"code": "date"}]),
            ],
            _e("Extension.value[x]", max="0"),
        ),
        *(_device_reading(), _summary_result(), _resliced(), _ordered(), _by_existence(), _patient()),
        _device(),
    ]


def _observation(name: str, **elements: Any) -> Json:
    return {
        "resourceType": "Observation",
        "meta": {"profile": [f"{_OWN}{name}"]},
        "status": "final",
        "code": {"coding": [{"system": _RESULT, "code": "reading"}]},
        **elements,
    }


def _lead(mdc: str) -> Json:
    data = {"origin": {"value": 0}, "period": 10, "lowerLimit": 0, "dimensions": 1, "data": "1 2 3"}
    return {"code": {"coding": [{"system": _MDC, "code": mdc}]}, "valueSampledData": data}


def own_examples() -> dict[str, Json]:
    device, order = "http://example.org/device", "http://example.org/order"
    found = {
        "device-reading": _observation(
            "device-reading",
            extension=[{"url": _GATEWAY, "valueReference": {"reference": "Device/gateway"}}],
            identifier=[{"system": "http://example.org/readings", "value": "7"}],
            code={"coding": [{"system": _MDC, "code": "149530", "display": "pulse rate"}, {"code": "x"}]},
            subject={"reference": "Patient/ana"},
            effectiveDateTime="2026-03-01T08:00:00Z",
            device={"reference": "Device/oximeter"},
            valueQuantity=quantity("61", "bpm", "/min"),
        ),
        "summary-result": _observation(
            "summary-result",
            category=[
                {"coding": [{"system": _RESULT, "code": "device"}]},
                {"coding": [{"system": _RESULT, "code": "vitals"}]},
            ],
            subject={"reference": "Patient/ana"},
            performer=[{"reference": "Practitioner/lee"}],
            valueCodeableConcept={"coding": [{"system": _RESULT, "code": "present"}]},
            interpretation=[{"text": "high"}],
            referenceRange=[{"low": quantity("50", "x", "/min"), "high": quantity("90", "x", "/min")}],
            component=[{"code": {"text": "peak"}, "valueQuantity": quantity("99", "x", "/min")}],
        ),
        "resliced": _observation(
            "resliced",
            identifier=[
                {"use": "official", "system": device, "value": "a"},
                {"use": "secondary", "system": device, "value": "b", "period": {"start": "2026-01-01"}},
                {"use": "temp", "system": device, "value": "c"},
                {"use": "usual", "system": order, "value": "d", "assigner": {"display": "ward"}},
                {"system": "http://example.org/other", "value": "e"},
            ],
        ),
        "leads": _observation(
            "leads",
            component=[_lead("131329"), _lead("131330"), _lead("131389")],
            method={"text": "twelve leads"},
        ),
        "ranges": _observation(
            "ranges",
            referenceRange=[
                {"text": "50 to 90"},
                {"text": "70 to 120", "appliesTo": [{"text": "children"}], "age": {"high": {"value": 12}}},
            ],
        ),
        "enrolled-patient": {
            "resourceType": "Patient",
            "meta": {"profile": [f"{_OWN}enrolled-patient"]},
            "extension": [
                {
                    "url": _FITTING,
                    "extension": [
                        {"url": "site", "valueCode": "wrist"},
                        {"url": "date", "valueDate": "2026-02-01"},
                    ],
                }
            ],
            "identifier": [
                {
                    "type": {"coding": [{"system": _RESULT, "code": "MR"}]},
                    "system": "http://example.org/mrn",
                    "value": "123",
                }
            ],
            "name": [{"family": "Lopez", "given": ["Ana", "Maria"]}],
            "telecom": [{"system": "phone", "value": "555"}],
            "birthDate": "1970-01-01",
            "deceasedBoolean": False,
            "contact": [{"name": {"text": "Bea"}}],
        },
        "health-device": {
            "resourceType": "Device",
            "meta": {"profile": [f"{_OWN}health-device"]},
            "identifier": [
                {"type": {"coding": [{"code": "SYSID"}]}, "system": "urn:oid:1.2.840.10004", "value": "FE-01"}
            ],
            "manufacturer": "Acme",
            "modelNumber": "A1",
            "type": {"coding": [{"system": _MDC, "code": "65573"}]},
            "specialization": [{"systemType": {"coding": [{"system": _MDC, "code": "528388"}]}}],
            "version": [{"type": {"coding": [{"code": "531976"}]}, "value": "1.2"}, {"value": "other"}],
        },
    }
    return copy.deepcopy(found)
