"""Device: names, specializations and single elements that became lists; what has no place goes by extension."""

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
    needed,
    recoded,
    renamed,
    rewrapped,
)

_NEW_NAME_TYPES = frozenset({"registered-name", "user-friendly-name", "patient-reported-name"})
_OLD_STATUS = frozenset({"active", "inactive", "entered-in-error", "unknown"})
_OLD_ENTRY_TYPES = frozenset({"barcode", "rfid", "manual", "card", "self-reported", "unknown"})


def _source_event(given: Node) -> Node:
    names = {"distinctIdentifier": "value", "_distinctIdentifier": "_value"}
    identifier = {names[name]: value for name, value in given.items()}
    return {"biologicalSourceEvent": identifier} if identifier else {}


def _distinct_identifier(given: Node) -> Node:
    names = {"value": "distinctIdentifier", "_value": "_distinctIdentifier"}
    identifier: Node = given.get("biologicalSourceEvent", {})
    return {names[name]: value for name, value in identifier.items() if name in names}


def _one_value(given: Node) -> Node:
    """R5 has one value for a property: the first quantity, else the first code; it requires one."""
    if given.get("valueQuantity"):
        return {"valueQuantity": given["valueQuantity"][0]}
    return {"valueCodeableConcept": given["valueCode"][0] if given.get("valueCode") else absent()}


def _values(given: Node) -> Node:
    if "valueQuantity" in given:
        return {"valueQuantity": [given["valueQuantity"]]}
    code = given.get("valueCodeableConcept", absent())
    return {} if code == absent() else {"valueCode": [code]}


KINDS = (
    Kind(
        "Device",
        "Device",
        (
            rewrapped(
                fields("definition:Reference"),
                fields("definition:CodeableReference"),
                lambda reference: {"reference": reference},
                lambda either: either.get("reference"),
            ),
            Codes("status", recoded({"unknown": None}), recoded({}, _OLD_STATUS)),
            *gone("statusReason:CodeableConcept*"),
            Rule(
                fields("distinctIdentifier:string"),
                fields("biologicalSourceEvent:Identifier"),
                _source_event,
                _distinct_identifier,
            ),
            renamed("deviceName", "name", "Device.deviceName*"),
            listed("type", "CodeableConcept"),
            renamed("specialization", "conformsTo", "Device.specialization*"),
            *gone("patient:Reference"),
            *added(
                "displayName:string availabilityStatus:CodeableConcept category:CodeableConcept* "
                "mode:CodeableConcept cycle:Count duration:Duration endpoint:Reference* gateway:CodeableReference*"
            ),
        ),
    ),
    Kind(
        "Device.udiCarrier",
        "Device.udiCarrier",
        (
            needed("deviceIdentifier", "string", new=True),
            needed("issuer", "uri", new=True),
            Codes("entryType", recoded({}), recoded({}, _OLD_ENTRY_TYPES)),
        ),
    ),
    Kind(
        "Device.deviceName",
        "Device.name",
        (
            renamed("name", "value", "string"),
            Codes(
                "type",
                recoded({"udi-label-name": "registered-name"}, _NEW_NAME_TYPES - {"registered-name"}),
                recoded({"registered-name": "udi-label-name"}),
            ),
            *added("display:boolean"),
        ),
    ),
    Kind(
        "Device.specialization",
        "Device.conformsTo",
        (renamed("systemType", "specification", "CodeableConcept"), *added("category:CodeableConcept")),
    ),
    Kind("Device.version", "Device.version", added("installDate:dateTime")),
    Kind(
        "Device.property",
        "Device.property",
        (
            Rule(
                fields("valueQuantity:Quantity* valueCode:CodeableConcept*"),
                fields("value[x]:Quantity|CodeableConcept|string|boolean|integer|Range|Attachment"),
                _one_value,
                _values,
            ),
        ),
    ),
)
