"""Profiles of what surrounds a value, as differentials over several levels: resources within others, targets
of references, extensions of primitive values, profiles of datatypes, re-slices of a base profile's slices.

Each has an example that meets it, in `own_structure_examples`.
"""

from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import definition
from tests.unit.profiles.examples import Json
from tests.unit.profiles.own_profiles import (
    OWN,
    RESULT,
    element,
    extension_definition,
    rule,
    slicing,
    value_set,
)

_KINDS = "http://example.org/ValueSet/kinds"
SPELLING, APPROVAL = f"{OWN}spelling", f"{OWN}approval"
IMPOSE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-imposeProfile"
_MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"


def _coding(code: str) -> Json:
    return {"coding": [{"system": RESULT, "code": code}]}


def _levels() -> list[Json]:
    """Three levels: the second narrows the first, the third re-slices a slice of the first."""
    o, first, second = "Observation", f"{OWN}level-one", f"{OWN}level-two"
    return [
        definition(
            first,
            f"{HL7}Observation",
            element(f"{o}.identifier", slicing=slicing("value", "system")),
            element(f"{o}.identifier:device", max="4"),
            element(f"{o}.identifier:device.system", min=1, fixedUri="http://example.org/device"),
            element(f"{o}.category", slicing=slicing("pattern", "$this"), min=1),
            element(
                f"{o}.category:kind", min=0, max="3", patternCodeableConcept={"coding": [{"system": RESULT}]}
            ),
            element(f"{o}.subject", min=1),
        ),
        definition(
            second,
            first,
            element(f"{o}.identifier:device.value", min=1),
            element(f"{o}.subject.reference", min=1),
            element(f"{o}.value[x]", type=[{"code": "Quantity"}, {"code": "string"}]),
            element(f"{o}.issued", max="0"),
        ),
        definition(
            f"{OWN}level-three",
            second,
            element(f"{o}.identifier", slicing=slicing("value", "system")),
            element(f"{o}.identifier:device", slicing=slicing("value", "use")),
            element(f"{o}.identifier:device/main", min=1, max="1"),
            element(f"{o}.identifier:device/main.use", min=1, fixedCode="official"),
            element(f"{o}.identifier:device/main.system", min=1, fixedUri="http://example.org/device"),
            element(f"{o}.identifier:device/main.period", min=1),
            element(f"{o}.identifier:device/spare", max="1"),
            element(f"{o}.identifier:device/spare.use", min=1, fixedCode="secondary"),
            element(f"{o}.identifier:device/spare.system", min=1, fixedUri="http://example.org/device"),
            element(f"{o}.value[x]", min=1, type=[{"code": "Quantity"}]),
            element(f"{o}.effective[x]", min=1, type=[{"code": "dateTime"}]),
        ),
    ]


def _by_type() -> Json:
    o = "Observation"
    return definition(
        f"{OWN}typed-parts",
        f"{HL7}Observation",
        element(f"{o}.component", slicing=slicing("type", "value", rules="closed")),
        element(f"{o}.component:measured", min=1, max="1"),
        element(f"{o}.component:measured.value[x]", min=1, type=[{"code": "Quantity"}]),
        element(f"{o}.component:measured.interpretation", min=1),
        element(f"{o}.component:coded", max="1"),
        element(f"{o}.component:coded.value[x]", min=1, type=[{"code": "CodeableConcept"}]),
    )


def _targets() -> list[Json]:
    o, tested = "Observation", f"{OWN}tested-device"
    both = [{"code": "Reference", "targetProfile": [tested, f"{HL7}DeviceMetric"]}]
    return [
        definition(
            tested,
            f"{HL7}Device",
            element("Device.serialNumber", min=1),
            element("Device.owner", max="0"),
            type="Device",
        ),
        definition(
            f"{OWN}contained-device",
            f"{HL7}Observation",
            element(f"{o}.device", min=1, type=[{**both[0], "aggregation": ["contained"]}]),
        ),
        definition(
            f"{OWN}sorted-sources",
            f"{HL7}Observation",
            element(f"{o}.derivedFrom", slicing=slicing("profile", "resolve()", rules="closed")),
            element(
                f"{o}.derivedFrom:level",
                min=1,
                max="1",
                type=[{"code": "Reference", "targetProfile": [f"{OWN}level-one"]}],
            ),
            element(
                f"{o}.derivedFrom:answers",
                max="1",
                type=[{"code": "Reference", "targetProfile": [f"{HL7}QuestionnaireResponse"]}],
            ),
        ),
    ]


def _spelled() -> list[Json]:
    p = "Patient"
    return [
        extension_definition(
            SPELLING,
            [element("Extension.extension", max="0")],
            element("Extension.value[x]", min=1, type=[{"code": "string"}]),
            expression="HumanName.family",
        ),
        extension_definition(
            APPROVAL,
            [element("Extension.extension", max="0")],
            element("Extension.value[x]", min=1, type=[{"code": "boolean"}]),
            expression="Patient",
        ),
        definition(
            f"{OWN}spelled-patient",
            f"{HL7}Patient",
            element(f"{p}.name", min=1),
            element(f"{p}.name.family", min=1),
            element(f"{p}.name.family.extension", slicing=slicing("value", "url")),
            element(
                f"{p}.name.family.extension:spelling",
                min=1,
                max="1",
                type=[{"code": "Extension", "profile": [SPELLING]}],
            ),
            element(f"{p}.gender", min=1),
            element(f"{p}.birthDate", min=1),
            element(f"{p}.birthDate.extension", max="0"),
            type="Patient",
            extension=[{"url": IMPOSE, "valueCanonical": f"{OWN}reachable-patient"}],
        ),
        definition(
            f"{OWN}reachable-patient",
            f"{HL7}Patient",
            element(p, constraint=rule("rea-1", "telecom.exists() or address.exists()")),
            element(f"{p}.telecom.system", min=1),
            element(f"{p}.contact", max="0"),
            type="Patient",
        ),
    ]


def _bounded() -> list[Json]:
    """A profile of a datatype, a maximum value set, and a rule of an element that others refer to."""
    o, concept = "Observation", f"{OWN}coded-concept"
    maximum = [{"url": _MAX_VALUE_SET, "valueCanonical": _KINDS}]
    return [
        value_set(_KINDS, RESULT, "reading", "panel"),
        definition(
            concept,
            f"{HL7}CodeableConcept",
            element("CodeableConcept.coding", min=1, max="1"),
            element("CodeableConcept.coding.system", min=1),
            element("CodeableConcept.text", max="0"),
            type="CodeableConcept",
            kind="complex-type",
        ),
        definition(
            f"{OWN}bounded-result",
            f"{HL7}Observation",
            element(
                f"{o}.code",
                type=[{"code": "CodeableConcept", "profile": [concept]}],
                binding={"strength": "extensible", "valueSet": _KINDS, "extension": maximum},
            ),
            element(f"{o}.bodySite", type=[{"code": "CodeableConcept", "profile": [concept]}]),
            element(f"{o}.referenceRange.low", min=1),
            element(f"{o}.referenceRange.text", max="0"),
        ),
    ]


def _document() -> list[Json]:
    b, c = "Bundle", "Composition"
    return [
        definition(
            f"{OWN}report-document",
            f"{HL7}Bundle",
            element(f"{b}.identifier", min=1),
            element(f"{b}.type", fixedCode="document"),
            element(f"{b}.timestamp", min=1),
            element(f"{b}.entry", slicing=slicing("type", "resource", rules="closed"), min=2),
            element(f"{b}.entry.fullUrl", min=1),
            element(f"{b}.entry:head", min=1, max="1"),
            element(
                f"{b}.entry:head.resource",
                min=1,
                type=[{"code": "Composition", "profile": [f"{OWN}report-head"]}],
            ),
            element(f"{b}.entry:person", min=1, max="1"),
            element(
                f"{b}.entry:person.resource",
                min=1,
                type=[{"code": "Patient", "profile": [f"{OWN}reachable-patient"]}],
            ),
            element(f"{b}.entry:result"),
            element(f"{b}.entry:result.resource", min=1, type=[{"code": "Observation"}]),
            type="Bundle",
        ),
        definition(
            f"{OWN}report-head",
            f"{HL7}Composition",
            element(f"{c}.section", slicing=slicing("pattern", "code"), min=1),
            element(f"{c}.section:readings", min=1, max="1"),
            element(f"{c}.section:readings.code", min=1, patternCodeableConcept=_coding("reading")),
            element(f"{c}.section:readings.entry", slicing=slicing("profile", "resolve()"), min=1),
            element(
                f"{c}.section:readings.entry:level",
                min=1,
                max="1",
                type=[{"code": "Reference", "targetProfile": [f"{OWN}level-one"]}],
            ),
            element(f"{c}.section:readings.section", max="0"),
            type="Composition",
        ),
    ]


def structures() -> list[Json]:
    return [*_levels(), _by_type(), *_targets(), *_spelled(), *_bounded(), *_document()]
