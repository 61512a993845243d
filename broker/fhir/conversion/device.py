"""Rules for Device: renamed elements, single elements that became lists, elements of one release only."""

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
    required_primitive,
    restructured,
    single_to_list,
)

_R5_NAME_TYPES = frozenset({"registered-name", "user-friendly-name", "patient-reported-name"})
_R4_STATUS = frozenset({"active", "inactive", "entered-in-error", "unknown"})
_R4_ENTRY_TYPES = frozenset({"barcode", "rfid", "manual", "card", "self-reported", "unknown"})


def _source_event(source: JsonElement) -> JsonElement:
    names = {"distinctIdentifier": "value", "_distinctIdentifier": "_value"}
    identifier = {names[name]: value for name, value in source.items()}
    return {"biologicalSourceEvent": identifier} if identifier else {}


def _distinct_identifier(source: JsonElement) -> JsonElement:
    names = {"value": "distinctIdentifier", "_value": "_distinctIdentifier"}
    identifier: JsonElement = source.get("biologicalSourceEvent", {})
    return {names[name]: value for name, value in identifier.items() if name in names}


def _one_value(source: JsonElement) -> JsonElement:
    """R5 requires exactly one value for a property: the first quantity, else the first code."""
    if source.get("valueQuantity"):
        return {"valueQuantity": source["valueQuantity"][0]}
    return {"valueCodeableConcept": source["valueCode"][0] if source.get("valueCode") else absent_value()}


def _values(source: JsonElement) -> JsonElement:
    if "valueQuantity" in source:
        return {"valueQuantity": [source["valueQuantity"]]}
    code = source.get("valueCodeableConcept", absent_value())
    return {} if code == absent_value() else {"valueCode": [code]}


TYPE_RULES = (
    TypeRules(
        "Device",
        "Device",
        (
            restructured(
                elements("definition:Reference"),
                elements("definition:CodeableReference"),
                lambda reference: {"reference": reference},
                lambda codeable_reference: codeable_reference.get("reference"),
            ),
            CodeRule("status", code_map({"unknown": None}), code_map({}, _R4_STATUS)),
            *only_in_r4("statusReason:CodeableConcept*"),
            ElementRule(
                elements("distinctIdentifier:string"),
                elements("biologicalSourceEvent:Identifier"),
                _source_event,
                _distinct_identifier,
            ),
            renamed("deviceName", "name", "Device.deviceName*"),
            single_to_list("type", "CodeableConcept"),
            renamed("specialization", "conformsTo", "Device.specialization*"),
            *only_in_r4("patient:Reference"),
            *only_in_r5(
                "displayName:string availabilityStatus:CodeableConcept category:CodeableConcept* "
                "mode:CodeableConcept cycle:Count duration:Duration endpoint:Reference* "
                "gateway:CodeableReference*"
            ),
        ),
    ),
    TypeRules(
        "Device.udiCarrier",
        "Device.udiCarrier",
        (
            required_primitive("deviceIdentifier", "string", in_r5=True),
            required_primitive("issuer", "uri", in_r5=True),
            CodeRule("entryType", code_map({}), code_map({}, _R4_ENTRY_TYPES)),
        ),
    ),
    TypeRules(
        "Device.deviceName",
        "Device.name",
        (
            renamed("name", "value", "string"),
            CodeRule(
                "type",
                code_map({"udi-label-name": "registered-name"}, _R5_NAME_TYPES - {"registered-name"}),
                code_map({"registered-name": "udi-label-name"}),
            ),
            *only_in_r5("display:boolean"),
        ),
    ),
    TypeRules(
        "Device.specialization",
        "Device.conformsTo",
        (renamed("systemType", "specification", "CodeableConcept"), *only_in_r5("category:CodeableConcept")),
    ),
    TypeRules("Device.version", "Device.version", only_in_r5("installDate:dateTime")),
    TypeRules(
        "Device.property",
        "Device.property",
        (
            ElementRule(
                elements("valueQuantity:Quantity* valueCode:CodeableConcept*"),
                elements("value[x]:Quantity|CodeableConcept|string|boolean|integer|Range|Attachment"),
                _one_value,
                _values,
            ),
        ),
    ),
)
