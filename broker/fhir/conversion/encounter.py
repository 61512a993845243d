"""Rules for Encounter, the type that R5 changed most.

Codes that share one code in the other release are kept in extensions.
"""

from broker.fhir.conversion.type_rules import (
    CodeRule,
    ElementRule,
    JsonElement,
    TypeRules,
    absent_value,
    code_map,
    elements,
    only_in_r4,
    only_in_r5,
    renamed,
    restructured,
    single_to_list,
)

_MOVED = ("dietPreference", "specialArrangement", "specialCourtesy")
"""Elements that R4 has in hospitalization, and R5 at the root, next to admission."""

_STATUS = CodeRule(
    "status",
    code_map(
        {"arrived": "in-progress", "triaged": "in-progress", "onleave": "on-hold", "finished": "completed"}
    ),
    code_map(
        {
            "on-hold": "onleave",
            "discharged": "finished",
            "completed": "finished",
            "discontinued": "finished",
        }
    ),
)


def _classes(source: JsonElement) -> JsonElement:
    if "class" not in source or source["class"] == absent_value():
        return {}
    return {"class": [{"coding": [source["class"]]}]}


def _class(source: JsonElement) -> JsonElement:
    """R4 requires a class: the first coding, else the first text."""
    for concept in source.get("class", []):
        if concept.get("coding"):
            return {"class": concept["coding"][0]}
        if "text" in concept:
            return {"class": {"display": concept["text"]}}
    return {"class": absent_value()}


def _reasons(source: JsonElement) -> JsonElement:
    reasons = [{"value": [{"concept": concept}]} for concept in source.get("reasonCode", [])]
    reasons += [{"value": [{"reference": reference}]} for reference in source.get("reasonReference", [])]
    return {"reason": reasons} if reasons else {}


def _reason_codes(source: JsonElement) -> JsonElement:
    plain = [reason for reason in source.get("reason", []) if "modifierExtension" not in reason]
    values = [value for reason in plain for value in reason.get("value", [])]
    target = {
        "reasonCode": [value["concept"] for value in values if "concept" in value],
        "reasonReference": [value["reference"] for value in values if "reference" in value],
    }
    return {name: values for name, values in target.items() if values}


def _admission(source: JsonElement) -> JsonElement:
    stay: JsonElement = source.get("hospitalization", {})
    rest = {name: value for name, value in stay.items() if name not in _MOVED}
    moved = {name: stay[name] for name in _MOVED if name in stay}
    return ({"admission": rest} if rest else {}) | moved


def _hospitalization(source: JsonElement) -> JsonElement:
    stay = source.get("admission", {}) | {name: source[name] for name in _MOVED if name in source}
    return {"hospitalization": stay} if stay else {}


def _conditions(source: JsonElement) -> JsonElement:
    condition = source.get("condition", absent_value())
    return {} if condition == absent_value() else {"condition": [{"reference": condition}]}


def _condition(source: JsonElement) -> JsonElement:
    references = [value["reference"] for value in source.get("condition", []) if "reference" in value]
    return {"condition": references[0] if references else absent_value()}


TYPE_RULES = (
    TypeRules(
        "Encounter",
        "Encounter",
        (
            _STATUS,
            ElementRule(elements("class:Coding"), elements("class:CodeableConcept*"), _classes, _class),
            *only_in_r4("statusHistory:Encounter.statusHistory* classHistory:Encounter.classHistory*"),
            restructured(
                elements("serviceType:CodeableConcept"),
                elements("serviceType:CodeableReference*"),
                lambda concept: [{"concept": concept}],
                lambda services: next((each["concept"] for each in services if "concept" in each), None),
            ),
            renamed("period", "actualPeriod", "Period"),
            ElementRule(
                elements("reasonCode:CodeableConcept* reasonReference:Reference*"),
                elements("reason:Encounter.reason*"),
                _reasons,
                _reason_codes,
            ),
            ElementRule(
                elements("hospitalization:Encounter.hospitalization"),
                elements(
                    "admission:Encounter.admission dietPreference:CodeableConcept* "
                    "specialArrangement:CodeableConcept* specialCourtesy:CodeableConcept*"
                ),
                _admission,
                _hospitalization,
            ),
            *only_in_r5(
                "subjectStatus:CodeableConcept careTeam:Reference* plannedStartDate:dateTime "
                "plannedEndDate:dateTime virtualService:VirtualServiceDetail*"
            ),
        ),
    ),
    TypeRules(
        "Encounter.participant",
        "Encounter.participant",
        (renamed("individual", "actor", "Reference"),),
    ),
    TypeRules(
        "Encounter.diagnosis",
        "Encounter.diagnosis",
        (
            ElementRule(
                elements("condition:Reference"),
                elements("condition:CodeableReference*"),
                _conditions,
                _condition,
            ),
            single_to_list("use", "CodeableConcept"),
            *only_in_r4("rank:positiveInt"),
        ),
    ),
    TypeRules("Encounter.diagnosis.condition", "Encounter.diagnosis.condition"),
    TypeRules(
        "Encounter.location", "Encounter.location", (renamed("physicalType", "form", "CodeableConcept"),)
    ),
)
