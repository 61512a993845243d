"""The vital-signs profiles of R4 and of US Core, restated: the broker knows them without any file.

`vital_signs.tsv` has a row for each measurement; this module turns it, and the few general profiles, into
definitions in the form in which they are read from packages.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

Json = dict[str, Any]
HL7 = "http://hl7.org/fhir/StructureDefinition/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_VALUE_SET = "http://hl7.org/fhir/ValueSet/"
_UNITS = {
    "ucum-bodylength": "cm [in_i]",
    "ucum-bodytemp": "Cel [degF]",
    "ucum-bodyweight": "g kg [lb_av]",
    "ucum-vitals-common": "% cm [in_i] kg g [lb_av] Cel [degF] mm[Hg] /min kg/m2 m2",
}
_STATUS = "registered preliminary final amended corrected cancelled entered-in-error unknown"
_VALUE_TYPES = (
    *("Quantity", "CodeableConcept", "string", "boolean", "integer", "Range", "Ratio", "SampledData"),
    *("time", "dateTime", "Period"),
)
US_CORE_TARGETS = {
    "us-core-patient": "Patient",
    "us-core-practitioner": "Practitioner",
    "us-core-practitionerrole": "PractitionerRole",
    "us-core-organization": "Organization",
    "us-core-careteam": "CareTeam",
    "us-core-relatedperson": "RelatedPerson",
    "us-core-encounter": "Encounter",
    "us-core-location": "Location",
}
"""The types of US Core profiles that only occur as targets of references."""


class VitalSign(NamedTuple):
    """A row of the table. `quantity` is the unit, or the value set of units, or '-'."""

    profile: str
    us_core: str
    slice: str
    loinc: str
    quantity: str


@cache
def vital_signs() -> Sequence[VitalSign]:
    lines = (files("broker.profiles") / "vital_signs.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [VitalSign(*line.split("\t")) for line in lines]


@cache
def profile_of_code() -> Mapping[str, str]:
    """LOINC code -> the vital-signs profile that an Observation with it has to meet."""
    return {each.loinc: f"{HL7}{each.profile}" for each in vital_signs()}


def shipped_definitions() -> Iterator[Json]:
    """StructureDefinitions and ValueSets."""
    yield _definition(f"{HL7}vitalsigns", f"{HL7}Observation", _vitalsigns())
    yield _definition(f"{US_CORE}us-core-vital-signs", f"{HL7}vitalsigns", _us_core_vital_signs())
    yield _definition(f"{US_CORE}us-core-average-blood-pressure", f"{HL7}Observation", _us_core_average())
    yield _definition(f"{HL7}devicemetricobservation", f"{HL7}Observation", _device_metric())
    for each in vital_signs():
        yield _definition(f"{HL7}{each.profile}", f"{HL7}vitalsigns", _base_profile(each))
        if each.us_core != "-":
            url = f"{US_CORE}{each.us_core}"
            yield _definition(url, f"{US_CORE}us-core-vital-signs", _us_core_profile(each))
    for name, codes in _UNITS.items():
        yield _value_set(name, _UCUM, codes)
    yield _value_set("quantity-comparator", "http://hl7.org/fhir/quantity-comparator", "< <= >= >")
    yield _value_set("observation-status", "http://hl7.org/fhir/observation-status", _STATUS)
    for name in ("SimpleQuantity", "MoneyQuantity"):
        simple = [_element("Quantity.comparator", max="0")] if name == "SimpleQuantity" else []
        yield _definition(f"{HL7}{name}", f"{HL7}Quantity", simple, type="Quantity")


def _definition(url: str, base: str, elements: Sequence[Json], type: str = "Observation") -> Json:
    return {
        "resourceType": "StructureDefinition",
        "url": url,
        "version": "" if url.startswith(US_CORE) else "4.0.1",  # US Core keeps these rules in its versions
        "name": url.rpartition("/")[2],
        "fhirVersion": "4.0.1",
        "kind": "resource",
        "type": type,
        "baseDefinition": base,
        "derivation": "constraint",
        "differential": {"element": list(elements)},
    }


def _value_set(name: str, system: str, codes: str) -> Json:
    concepts = [{"code": code} for code in codes.split(" ")]
    compose = {"include": [{"system": system, "concept": concepts}]}
    return {"resourceType": "ValueSet", "url": f"{_VALUE_SET}{name}", "version": "4.0.1", "compose": compose}


def _element(element_id: str, support: bool = False, **rules: Any) -> Json:
    path = ".".join(step.partition(":")[0] for step in element_id.split("."))
    name = element_id.rpartition(".")[2].partition(":")[2]
    element: Json = {"id": element_id, "path": path, **({"sliceName": name} if name else {}), **rules}
    return element | ({"mustSupport": True} if support else {})


def _slicing(*paths: str) -> Json:
    return {"discriminator": [{"type": "value", "path": path} for path in paths], "rules": "open"}


def _types(*codes: str) -> list[Json]:
    return [{"code": code} for code in codes]


def _targets(*urls: str) -> list[Json]:
    return [{"code": "Reference", "targetProfile": list(urls)}]


def _required(value_set: str) -> Json:
    return {"strength": "required", "valueSet": f"{_VALUE_SET}{value_set}|4.0.1"}


def _constraint(key: str, text: str, expression: str) -> list[Json]:
    return [{"key": key, "severity": "error", "human": text, "expression": expression}]


def _category(support: bool) -> Iterator[Json]:
    path = "Observation.category"
    yield _element(path, True, slicing=_slicing("coding.code", "coding.system"), min=1, max="*")
    yield _element(f"{path}:VSCat", True, min=1, max="1")
    yield _element(f"{path}:VSCat.coding", True, min=1, max="*")
    yield _element(f"{path}:VSCat.coding.system", support, min=1, max="1", fixedUri=_CATEGORY)
    yield _element(f"{path}:VSCat.coding.code", support, min=1, max="1", fixedCode="vital-signs")


def _coding(path: str, name: str, loinc: str, minimum: int = 1) -> Iterator[Json]:
    """A slice of codings that has the LOINC code."""
    rules: Json = {"min": 1, "max": "1"} if minimum else {}
    yield _element(f"{path}.coding", slicing=_slicing("code", "system"))
    yield _element(f"{path}.coding:{name}", **rules)
    yield _element(f"{path}.coding:{name}.system", fixedUri=_LOINC, **rules)
    yield _element(f"{path}.coding:{name}.code", fixedCode=loinc, **rules)


def _quantity(path: str, unit: str, support: bool = True) -> Iterator[Json]:
    """A Quantity with value, unit, system and code. `unit` is a code or the name of a value set."""
    yield _element(f"{path}.value", support, min=1, max="1")
    yield _element(f"{path}.unit", support, min=1, max="1")
    yield _element(f"{path}.system", support, min=1, max="1", fixedUri=_UCUM)
    rules: Json = {"binding": _required(unit)} if unit.startswith("ucum-") else {"fixedCode": unit}
    yield _element(f"{path}.code", support, min=1, max="1", **rules)


def _vitalsigns() -> list[Json]:
    value = "value.exists() or dataAbsentReason.exists()"
    others = ("QuestionnaireResponse", "MolecularSequence", "vitalsigns")
    return [
        _element(
            "Observation",
            constraint=_constraint(
                "vs-2",
                "Without component and hasMember there is a value or a reason for its absence.",
                f"(component.empty() and hasMember.empty()) implies ({value})",
            ),
        ),
        _element("Observation.status", True, binding=_required("observation-status")),
        *_category(support=True),
        _element("Observation.code", True),
        _element("Observation.subject", True, min=1, max="1", type=_targets(f"{HL7}Patient")),
        _element(
            "Observation.effective[x]",
            True,
            min=1,
            max="1",
            type=_types("dateTime", "Period"),
            constraint=_constraint("vs-1", "A dateTime is precise to the day.", "toString().length() >= 8"),
        ),
        _element("Observation.value[x]", True),
        _element("Observation.dataAbsentReason", True),
        _element("Observation.hasMember", type=_targets(*(f"{HL7}{name}" for name in others))),
        _element(
            "Observation.derivedFrom",
            type=_targets(
                *(f"{HL7}{name}" for name in ("DocumentReference", "ImagingStudy", "Media", *others))
            ),
        ),
        _element(
            "Observation.component",
            True,
            constraint=_constraint("vs-3", "A component has a value or a reason for its absence.", value),
        ),
        _element("Observation.component.code", True),
        _element("Observation.component.value[x]", True, binding=_required("ucum-vitals-common")),
        _element("Observation.component.dataAbsentReason", True),
    ]


def _base_profile(row: VitalSign) -> list[Json]:
    elements = list(_coding("Observation.code", row.slice, row.loinc, minimum=row.profile != "vitalspanel"))
    match row.profile:
        case "bp":
            path = "Observation.component"
            elements.append(_element("Observation.valueQuantity", min=0, max="0"))
            elements.append(
                _element(path, slicing=_slicing("code.coding.code", "code.coding.system"), min=2, max="*")
            )
            for name, code, loinc in (("Systolic", "SBPCode", "8480-6"), ("Diastolic", "DBPCode", "8462-4")):
                part = f"{path}:{name}BP"
                elements.append(_element(part, min=1, max="1"))
                elements += _coding(f"{part}.code", code, loinc)
                elements.append(_element(f"{part}.valueQuantity", type=_types("Quantity")))
                elements += _quantity(f"{part}.valueQuantity", "mm[Hg]")
        case "vitalspanel":
            elements.append(_element("Observation.value[x]", min=0, max="0"))
            elements.append(_element("Observation.hasMember", True, min=1, max="*"))
        case name:
            value = "Observation.valueQuantity"
            elements.append(_element(value, min=1, max="1") if name == "bmi" else _element(value))
            elements += _quantity(value, row.quantity)
    return elements


def _performers() -> list[Json]:
    names = ("practitioner", "organization", "patient", "careteam", "relatedperson")
    return _targets(f"{HL7}PractitionerRole", *(f"{US_CORE}us-core-{name}" for name in names))


def _us_core_vital_signs() -> list[Json]:
    extensible = {"strength": "extensible", "valueSet": f"{_VALUE_SET}ucum-vitals-common|4.0.1"}
    return [
        _element("Observation.status", True),
        *_category(support=True),
        _element("Observation.code", True),
        _element("Observation.subject", True, type=_targets(f"{US_CORE}us-core-patient")),
        _element("Observation.effective[x]", True, type=_types("dateTime", "Period")),
        _element("Observation.performer", True, type=_performers()),
        _element("Observation.value[x]", True, type=_types(*_VALUE_TYPES), binding=extensible),
        _element("Observation.dataAbsentReason", True),
        _element("Observation.component", True),
        _element("Observation.component.code", True),
        _element("Observation.component.value[x]", True, type=_types(*_VALUE_TYPES), binding=extensible),
        _element("Observation.component.dataAbsentReason", True),
    ]


def _loinc(code: str) -> Json:
    return {"coding": [{"system": _LOINC, "code": code}]}


def _us_core_profile(row: VitalSign) -> list[Json]:
    value, path = "Observation.valueQuantity", "Observation.component"
    if row.profile == "oxygensat":
        elements = [
            _element("Observation.code", True),
            _element("Observation.code.coding", True, slicing=_slicing("$this"), min=2),
        ]
        for name, code in (("PulseOx", "59408-5"), ("O2Sat", row.loinc)):
            pattern = {"system": _LOINC, "code": code}
            elements.append(
                _element(f"Observation.code.coding:{name}", True, min=1, max="1", patternCoding=pattern)
            )
        elements += [_element(value, True), *_quantity(value, row.quantity)]
        elements.append(_element(path, True, slicing=_slicing("code")))
        elements += _us_core_part("FlowRate", "3151-8", "L/min", minimum=0)
        elements += _us_core_part("Concentration", "3150-0", "%", minimum=0)
        return elements
    elements = [_element("Observation.code", True, patternCodeableConcept=_loinc(row.loinc))]
    if row.profile == "bp":
        elements.append(_element(path, True, slicing=_slicing("code"), min=2, max="*"))
        elements += _us_core_part("systolic", "8480-6", "mm[Hg]")
        elements += _us_core_part("diastolic", "8462-4", "mm[Hg]")
        return elements
    return [*elements, _element(value, True, min=0, max="1"), *_quantity(value, row.quantity)]


def _us_core_part(name: str, loinc: str, unit: str, minimum: int = 1, support: bool = True) -> Iterator[Json]:
    """A component of US Core: told by its code, with a Quantity."""
    path = f"Observation.component:{name}"
    yield _element(path, True, min=minimum, max="1")
    yield _element(f"{path}.code", True, patternCodeableConcept=_loinc(loinc), min=1, max="1")
    yield _element(f"{path}.valueQuantity", True)
    yield from _quantity(f"{path}.valueQuantity", unit, support)


def _us_core_average() -> list[Json]:
    path = "Observation.component"
    value = "value.exists() or dataAbsentReason.exists()"
    return [
        _element("Observation.status", True),
        *_category(support=False),
        _element("Observation.code", True, patternCodeableConcept=_loinc("96607-7")),
        _element("Observation.subject", True, min=1, type=_targets(f"{US_CORE}us-core-patient")),
        _element("Observation.effective[x]", True, min=1, type=_types("dateTime", "Period")),
        _element("Observation.performer", True, type=_performers()),
        _element("Observation.value[x]", max="0"),
        _element(
            path,
            True,
            slicing=_slicing("code"),
            min=2,
            max="*",
            constraint=_constraint(
                "us-core-26", "A component has a value or a reason for its absence.", value
            ),
        ),
        _element(f"{path}.value[x]", True, type=_types(*_VALUE_TYPES)),
        _element(f"{path}.dataAbsentReason", True),
        *_us_core_part("systolic", "96608-5", "mm[Hg]", support=False),
        *_us_core_part("diastolic", "96609-3", "mm[Hg]", support=False),
    ]


def _device_metric() -> list[Json]:
    values = [name for name in _VALUE_TYPES if name not in {"boolean", "integer"}]
    members = _targets(f"{HL7}Observation")
    return [
        *(
            _element(f"Observation.{name}", True)
            for name in ("identifier", "status", "code", "bodySite", "method")
        ),
        _element("Observation.subject", True, min=1, type=_targets(f"{HL7}Patient", f"{HL7}Device")),
        *(
            _element(f"Observation.{name}", max="0")
            for name in ("encounter", "issued", "dataAbsentReason", "specimen")
        ),
        _element("Observation.effectiveDateTime", True, min=1, max="1", type=_types("dateTime")),
        _element("Observation.value[x]", True, type=_types(*values)),
        _element("Observation.interpretation", max="1"),
        _element("Observation.device", True, min=1, max="1", type=_targets(f"{HL7}DeviceMetric")),
        _element("Observation.referenceRange", True, max="1"),
        _element("Observation.hasMember", True, type=members),
        _element("Observation.derivedFrom", True, type=members),
    ]
