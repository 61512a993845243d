"""Profiles that the compiler was not written for: of personal health devices, of patient summaries, with
re-slices, closed and ordered slices, own invariants and extensions; differentials without snapshots.

Each has an example that meets it, in `own_examples`. `definitions` gives all definitions, also value sets
and extensions.
"""

from typing import Any

from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import definition
from tests.unit.profiles.examples import Json

OWN = "http://example.org/StructureDefinition/"
MDC = "urn:iso:std:iso:11073:10101"
GATEWAY, FITTING = f"{OWN}gateway-device", f"{OWN}fitting"
_PANELS, _FINDINGS = "http://example.org/ValueSet/panels", "http://example.org/ValueSet/findings"
RESULT = "http://example.org/CodeSystem/result"


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
        f"{OWN}device-reading",
        f"{HL7}Observation",
        _e(f"{o}.extension", slicing=_slicing("value", "url"), min=1),
        _e(f"{o}.extension:gateway", min=1, max="1", type=[{"code": "Extension", "profile": [GATEWAY]}]),
        _e(f"{o}.identifier", min=1),
        _e(f"{o}.identifier.system", min=1),
        _e(f"{o}.code.coding", slicing=_slicing("value", "system"), min=1),
        _e(f"{o}.code.coding:mdc", min=1, max="1"),
        _e(f"{o}.code.coding:mdc.system", min=1, fixedUri=MDC),
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
    panel = {"coding": [{"system": RESULT, "code": "device"}]}
    return definition(
        f"{OWN}summary-result",
        f"{HL7}Observation",
        _e(o, constraint=_rule("sum-1", "value.exists() implies interpretation.exists()")),
        _e(f"{o}.status", patternCode="final"),
        _e(f"{o}.category", slicing=_slicing("pattern", "$this", rules="closed"), min=1),
        _e(f"{o}.category:device", min=1, max="1", patternCodeableConcept=panel),
        _e(
            f"{o}.category:vitals",
            max="1",
            patternCodeableConcept={"coding": [{"system": RESULT, "code": "vitals"}]},
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
        f"{OWN}resliced",
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
    o, code = "Observation", {"system": MDC}
    return definition(
        f"{OWN}leads",
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
        f"{OWN}ranges",
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
        f"{OWN}enrolled-patient",
        f"{HL7}Patient",
        _e(f"{p}.extension", slicing=_slicing("value", "url")),
        _e(f"{p}.extension:fitting", min=1, max="1", type=[{"code": "Extension", "profile": [FITTING]}]),
        _e(f"{p}.identifier", slicing=_slicing("value", "system", "type"), min=1),
        _e(f"{p}.identifier:mrn", min=1, max="1"),
        _e(
            f"{p}.identifier:mrn.type",
            min=1,
            patternCodeableConcept={"coding": [{"system": RESULT, "code": "MR"}]},
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
    coding = {"system": MDC, "code": "65573"}
    return definition(
        f"{OWN}health-device",
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
        _code_system(RESULT, "reading", "panel", "device", "vitals", "MR", "present", "absent", "peak"),
        _value_set(_PANELS, RESULT, "reading", "panel"),
        _value_set(_FINDINGS, RESULT, "present", "absent"),
        _extension(
            GATEWAY, [_e("Extension.extension", max="0")], _e("Extension.value[x]", min=1, type=device)
        ),
        _extension(
            FITTING,
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
