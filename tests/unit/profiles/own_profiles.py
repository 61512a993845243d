"""Profiles that the compiler was not written for: of personal health devices, of patient summaries, with
re-slices, closed and ordered slices, own invariants and extensions; differentials without snapshots.

Each has an example that meets it, in `own_examples`. `own_profiles` gives all definitions, also value sets
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


def element(element_id: str, **rules: Any) -> Json:
    path = ".".join(step.partition(":")[0] for step in element_id.split("."))
    slice_name = element_id.rpartition(".")[2].partition(":")[2]
    named: Json = {"sliceName": slice_name} if slice_name else {}
    return {"id": element_id, "path": path, **named, **rules}


def slicing(kind: str, *paths: str, rules: str = "open", ordered: bool = False) -> Json:
    discriminators = [{"type": kind, "path": path} for path in paths]
    return {"discriminator": discriminators, "ordered": ordered, "rules": rules}


def rule(key: str, expression: str) -> list[Json]:
    return [{"key": key, "severity": "error", "human": f"{key} holds", "expression": expression}]


def extension_definition(
    url: str, extensions: list[Json], value: Json, *, expression: str = "Element"
) -> Json:
    """The elements of a definition have the order of their type. `expression` says where it may be."""
    return definition(
        url,
        f"{HL7}Extension",
        element("Extension", min=0, max="*"),
        *extensions,
        element("Extension.url", fixedUri=url),
        value,
        type="Extension",
        kind="complex-type",
        context=[{"type": "element", "expression": expression}],
    )


def value_set(url: str, system: str, *codes: str) -> Json:
    include = [{"system": system, "concept": [{"code": code} for code in codes]}]
    return {"resourceType": "ValueSet", "url": url, "status": "active", "compose": {"include": include}}


def code_system(url: str, *codes: str) -> Json:
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
        element(f"{o}.extension", slicing=slicing("value", "url"), min=1),
        element(f"{o}.extension:gateway", min=1, max="1", type=[{"code": "Extension", "profile": [GATEWAY]}]),
        element(f"{o}.identifier", min=1),
        element(f"{o}.identifier.system", min=1),
        element(f"{o}.code.coding", slicing=slicing("value", "system"), min=1),
        element(f"{o}.code.coding:mdc", min=1, max="1"),
        element(f"{o}.code.coding:mdc.system", min=1, fixedUri=MDC),
        element(f"{o}.code.coding:mdc.code", min=1),
        element(f"{o}.code.coding:mdc.display", maxLength=20),
        element(f"{o}.subject", min=1, type=[{"code": "Reference", "targetProfile": [f"{HL7}Patient"]}]),
        element(f"{o}.effectiveDateTime", min=1),
        element(f"{o}.valueQuantity", min=1),
        element(f"{o}.valueQuantity.comparator", max="0"),
        element(f"{o}.valueQuantity.system", min=1, fixedUri="http://unitsofmeasure.org"),
        element(f"{o}.valueQuantity.code", min=1),
        element(f"{o}.device", min=1),
        element(f"{o}.component", max="0"),
    )


def _summary_result() -> Json:
    o = "Observation"
    panel = {"coding": [{"system": RESULT, "code": "device"}]}
    return definition(
        f"{OWN}summary-result",
        f"{HL7}Observation",
        element(o, constraint=rule("sum-1", "value.exists() implies interpretation.exists()")),
        element(f"{o}.status", patternCode="final"),
        element(f"{o}.category", slicing=slicing("pattern", "$this", rules="closed"), min=1),
        element(f"{o}.category:device", min=1, max="1", patternCodeableConcept=panel),
        element(
            f"{o}.category:vitals",
            max="1",
            patternCodeableConcept={"coding": [{"system": RESULT, "code": "vitals"}]},
        ),
        element(f"{o}.code", binding={"strength": "required", "valueSet": _PANELS}),
        element(f"{o}.subject", min=1),
        element(f"{o}.subject.reference", min=1),
        element(f"{o}.performer", min=1, max="2"),
        element(
            f"{o}.value[x]",
            min=1,
            slicing=slicing("type", "$this"),
            type=[{"code": "Quantity"}, {"code": "CodeableConcept"}],
        ),
        element(
            f"{o}.value[x]:valueCodeableConcept",
            binding={"strength": "required", "valueSet": _FINDINGS},
            type=[{"code": "CodeableConcept"}],
        ),
        element(f"{o}.note", max="0"),
        element(f"{o}.referenceRange", max="1", constraint=rule("sum-2", "low.exists() and high.exists()")),
        element(f"{o}.component", constraint=rule("sum-3", "value.ofType(Quantity).value > 0")),
        element(f"{o}.component.value[x]", min=1, type=[{"code": "Quantity"}]),
    )


def _resliced() -> Json:
    o = "Observation"
    return definition(
        f"{OWN}resliced",
        f"{HL7}Observation",
        element(f"{o}.identifier", slicing=slicing("value", "system", "use"), min=2),
        element(f"{o}.identifier:device", slicing=slicing("value", "use"), min=2),
        element(f"{o}.identifier:device.use", min=1),
        element(f"{o}.identifier:device.system", min=1, fixedUri="http://example.org/device"),
        element(f"{o}.identifier:device/main", min=1, max="1"),
        element(f"{o}.identifier:device/main.use", min=1, fixedCode="official"),
        element(f"{o}.identifier:device/main.system", min=1, fixedUri="http://example.org/device"),
        element(f"{o}.identifier:device/main.value", min=1),
        element(f"{o}.identifier:device/other", max="1"),
        element(f"{o}.identifier:device/other.use", min=1, fixedCode="secondary"),
        element(f"{o}.identifier:device/other.system", min=1, fixedUri="http://example.org/device"),
        element(f"{o}.identifier:device/other.period", min=1),
        element(f"{o}.identifier:order", max="1"),
        element(f"{o}.identifier:order.use", min=1, fixedCode="usual"),
        element(f"{o}.identifier:order.system", min=1, fixedUri="http://example.org/order"),
        element(f"{o}.identifier:order.assigner", min=1),
    )


def _ordered() -> Json:
    o, code = "Observation", {"system": MDC}
    return definition(
        f"{OWN}leads",
        f"{HL7}Observation",
        element(f"{o}.method", min=1, max="1"),
        element(f"{o}.method.text", min=1, fixedString="twelve leads"),
        element(f"{o}.component", slicing=slicing("value", "code", rules="openAtEnd", ordered=True), min=1),
        *(
            each
            for name, mdc in (("first", "131329"), ("second", "131330"))
            for each in (
                element(f"{o}.component:{name}", min=1, max="1"),
                element(
                    f"{o}.component:{name}.code", patternCodeableConcept={"coding": [code | {"code": mdc}]}
                ),
                element(f"{o}.component:{name}.valueSampledData", min=1),
                element(f"{o}.component:{name}.valueSampledData.lowerLimit", min=1),
            )
        ),
    )


def _by_existence() -> Json:
    o = "Observation"
    return definition(
        f"{OWN}ranges",
        f"{HL7}Observation",
        element(f"{o}.referenceRange", slicing=slicing("exists", "appliesTo", rules="closed")),
        element(f"{o}.referenceRange:general", min=1, max="1"),
        element(f"{o}.referenceRange:general.appliesTo", max="0"),
        element(f"{o}.referenceRange:special", max="1"),
        element(f"{o}.referenceRange:special.appliesTo", min=1),
        element(f"{o}.referenceRange:special.age", min=1),
    )


def _patient() -> Json:
    p = "Patient"
    return definition(
        f"{OWN}enrolled-patient",
        f"{HL7}Patient",
        element(f"{p}.extension", slicing=slicing("value", "url")),
        element(f"{p}.extension:fitting", min=1, max="1", type=[{"code": "Extension", "profile": [FITTING]}]),
        element(f"{p}.identifier", slicing=slicing("value", "system", "type"), min=1),
        element(f"{p}.identifier:mrn", min=1, max="1"),
        element(
            f"{p}.identifier:mrn.type",
            min=1,
            patternCodeableConcept={"coding": [{"system": RESULT, "code": "MR"}]},
        ),
        element(f"{p}.identifier:mrn.system", min=1, fixedUri="http://example.org/mrn"),
        element(f"{p}.identifier:mrn.value", min=1, maxLength=8),
        element(f"{p}.name", min=1, constraint=rule("enr-1", "family.exists() or text.exists()")),
        element(f"{p}.name.given", max="2"),
        element(f"{p}.telecom", slicing=slicing("value", "system", rules="closed")),
        element(f"{p}.telecom:phone", max="1"),
        element(f"{p}.telecom:phone.system", min=1, fixedCode="phone"),
        element(f"{p}.telecom:phone.value", min=1),
        element(f"{p}.birthDate", min=1),
        element(f"{p}.deceased[x]", type=[{"code": "boolean"}]),
        element(f"{p}.contact.name", min=1),
        type="Patient",
    )


def _device() -> Json:
    d = "Device"
    coding = {"system": MDC, "code": "65573"}
    return definition(
        f"{OWN}health-device",
        f"{HL7}Device",
        element(f"{d}.identifier", slicing=slicing("value", "type.coding.code"), min=1),
        element(f"{d}.identifier:system", min=1, max="1"),
        element(f"{d}.identifier:system.type", min=1),
        element(f"{d}.identifier:system.type.coding", min=1),
        element(f"{d}.identifier:system.type.coding.code", min=1, fixedCode="SYSID"),
        element(f"{d}.identifier:system.system", min=1),
        element(f"{d}.manufacturer", min=1),
        element(f"{d}.modelNumber", min=1),
        element(f"{d}.type", min=1, patternCodeableConcept={"coding": [coding]}),
        element(f"{d}.specialization", min=1),
        element(f"{d}.version", slicing=slicing("pattern", "type"), min=1),
        element(f"{d}.version:firmware", min=1, max="1"),
        element(f"{d}.version:firmware.type", min=1, patternCodeableConcept={"coding": [{"code": "531976"}]}),
        element(f"{d}.parent", max="0"),
        type="Device",
    )


def own_profiles() -> list[Json]:
    device = [{"code": "Reference", "targetProfile": [f"{HL7}Device"]}]
    return [
        code_system(RESULT, "reading", "panel", "device", "vitals", "MR", "present", "absent", "peak"),
        value_set(_PANELS, RESULT, "reading", "panel"),
        value_set(_FINDINGS, RESULT, "present", "absent"),
        extension_definition(
            GATEWAY,
            [element("Extension.extension", max="0")],
            element("Extension.value[x]", min=1, type=device),
        ),
        extension_definition(
            FITTING,
            [
                element("Extension.extension", slicing=slicing("value", "url"), min=1),
                element("Extension.extension:site", min=1, max="1"),
                element("Extension.extension:site.url", fixedUri="site"),
                element("Extension.extension:site.value[x]", min=1, type=[{"code": "code"}]),
                element("Extension.extension:date", max="1"),
                element("Extension.extension:date.url", fixedUri="date"),
                element("Extension.extension:date.value[x]", min=1, type=[{"code": "date"}]),
            ],
            element("Extension.value[x]", max="0"),
        ),
        *(_device_reading(), _summary_result(), _resliced(), _ordered(), _by_existence(), _patient()),
        _device(),
    ]
