"""Encounter: the type R5 changed most. Codes that meet in one word of the other release keep their own by extension."""

from broker.fhir.conversion.rules import (
    Codes,
    Kind,
    Node,
    Rule,
    absent,
    added,
    fields,
    gone,
    listed,
    recoded,
    renamed,
    rewrapped,
)

_MOVED = ("dietPreference", "specialArrangement", "specialCourtesy")
"""What R4 has in hospitalization, and R5 beside admission."""

_STATUS = Codes(
    "status",
    recoded(
        {"arrived": "in-progress", "triaged": "in-progress", "onleave": "on-hold", "finished": "completed"}
    ),
    recoded(
        {
            "on-hold": "onleave",
            "discharged": "finished",
            "completed": "finished",
            "discontinued": "finished",
        }
    ),
)


def _classes(given: Node) -> Node:
    if "class" not in given or given["class"] == absent():
        return {}
    return {"class": [{"coding": [given["class"]]}]}


def _class(given: Node) -> Node:
    """R4 requires a class; it sees the first coding, or at least a text."""
    for concept in given.get("class", []):
        if concept.get("coding"):
            return {"class": concept["coding"][0]}
        if "text" in concept:
            return {"class": {"display": concept["text"]}}
    return {"class": absent()}


def _reasons(given: Node) -> Node:
    found = [{"value": [{"concept": concept}]} for concept in given.get("reasonCode", [])]
    found += [{"value": [{"reference": reference}]} for reference in given.get("reasonReference", [])]
    return {"reason": found} if found else {}


def _reason_codes(given: Node) -> Node:
    plain = [reason for reason in given.get("reason", []) if "modifierExtension" not in reason]
    values = [value for reason in plain for value in reason.get("value", [])]
    found = {
        "reasonCode": [value["concept"] for value in values if "concept" in value],
        "reasonReference": [value["reference"] for value in values if "reference" in value],
    }
    return {name: some for name, some in found.items() if some}


def _admission(given: Node) -> Node:
    stay: Node = given.get("hospitalization", {})
    rest = {name: value for name, value in stay.items() if name not in _MOVED}
    moved = {name: stay[name] for name in _MOVED if name in stay}
    return ({"admission": rest} if rest else {}) | moved


def _hospitalization(given: Node) -> Node:
    stay = given.get("admission", {}) | {name: given[name] for name in _MOVED if name in given}
    return {"hospitalization": stay} if stay else {}


def _conditions(given: Node) -> Node:
    condition = given.get("condition", absent())
    return {} if condition == absent() else {"condition": [{"reference": condition}]}


def _condition(given: Node) -> Node:
    found = [either["reference"] for either in given.get("condition", []) if "reference" in either]
    return {"condition": found[0] if found else absent()}


KINDS = (
    Kind(
        "Encounter",
        "Encounter",
        (
            _STATUS,
            Rule(fields("class:Coding"), fields("class:CodeableConcept*"), _classes, _class),
            *gone("statusHistory:Encounter.statusHistory* classHistory:Encounter.classHistory*"),
            rewrapped(
                fields("serviceType:CodeableConcept"),
                fields("serviceType:CodeableReference*"),
                lambda concept: [{"concept": concept}],
                lambda services: next((one["concept"] for one in services if "concept" in one), None),
            ),
            renamed("period", "actualPeriod", "Period"),
            Rule(
                fields("reasonCode:CodeableConcept* reasonReference:Reference*"),
                fields("reason:Encounter.reason*"),
                _reasons,
                _reason_codes,
            ),
            Rule(
                fields("hospitalization:Encounter.hospitalization"),
                fields(
                    "admission:Encounter.admission dietPreference:CodeableConcept* "
                    "specialArrangement:CodeableConcept* specialCourtesy:CodeableConcept*"
                ),
                _admission,
                _hospitalization,
            ),
            *added(
                "subjectStatus:CodeableConcept careTeam:Reference* plannedStartDate:dateTime "
                "plannedEndDate:dateTime virtualService:VirtualServiceDetail*"
            ),
        ),
    ),
    Kind(
        "Encounter.participant",
        "Encounter.participant",
        (renamed("individual", "actor", "Reference"),),
    ),
    Kind(
        "Encounter.diagnosis",
        "Encounter.diagnosis",
        (
            Rule(
                fields("condition:Reference"), fields("condition:CodeableReference*"), _conditions, _condition
            ),
            listed("use", "CodeableConcept"),
            *gone("rank:positiveInt"),
        ),
    ),
    Kind("Encounter.diagnosis.condition", "Encounter.diagnosis.condition"),
    Kind("Encounter.location", "Encounter.location", (renamed("physicalType", "form", "CodeableConcept"),)),
)
