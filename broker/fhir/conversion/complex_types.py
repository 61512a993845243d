"""Rules for data types that R5 changed: Attachment, SampledData, Quantity, and those only extensions have."""

from decimal import Decimal

import msgspec

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
    required_primitive,
    single_to_list,
)

_LARGEST = 2**31 - 1
_MS_EXPONENT = {"ms": 0, "s": 3, "us": -3, "ns": -6}


def _long_size(source: JsonElement) -> JsonElement:
    """R5 writes an integer64 as a string (R-221)."""
    size = source.get("size")
    if size is None or not bytes(size).isdigit():
        return {name: value for name, value in source.items() if name == "_size"}
    return {**source, "size": bytes(size).decode()}


def _short_size(source: JsonElement) -> JsonElement:
    size = source.get("size")
    text = size if isinstance(size, str) else bytes(size or b"").decode()
    if not text.isdecimal() or not text.isascii() or int(text) > _LARGEST or text != str(int(text)):
        return {name: value for name, value in source.items() if name == "_size"}
    return {**source, "size": msgspec.Raw(text.encode())}


def _interval(source: JsonElement) -> JsonElement:
    """R4's `period` is in ms; R5's `interval` names its unit."""
    names = {"period": "interval", "_period": "_interval"}
    present = {} if source == {"_period": absent_value()} else source
    return {**{names[name]: value for name, value in present.items()}, "intervalUnit": "ms"}


def _period(source: JsonElement) -> JsonElement:
    exponent = _MS_EXPONENT.get(source.get("intervalUnit", ""))
    sibling = {"_period": source["_interval"]} if "_interval" in source else {}
    if exponent is None or "interval" not in source:
        return sibling or {"_period": absent_value()}
    period = source["interval"]
    if exponent:
        period = msgspec.Raw(f"{Decimal(bytes(period).decode()).scaleb(exponent):f}".encode())
    return {"period": period, **sibling}


def _as_needed_for(source: JsonElement) -> JsonElement:
    names = {"asNeededBoolean": "asNeeded", "_asNeededBoolean": "_asNeeded"}
    target = {names[name]: value for name, value in source.items() if name in names}
    concept = source.get("asNeededCodeableConcept")
    return target if concept is None else {**target, "asNeededFor": [concept]}


def _as_needed(source: JsonElement) -> JsonElement:
    if source.get("asNeededFor"):
        return {"asNeededCodeableConcept": source["asNeededFor"][0]}
    names = {"asNeeded": "asNeededBoolean", "_asNeeded": "_asNeededBoolean"}
    return {names[name]: value for name, value in source.items() if name in names}


def _signed(source: JsonElement) -> JsonElement:
    """R4 requires all three elements of a Signature."""
    return {
        "type": source.get("type", [absent_value()]),
        "who": source.get("who", absent_value()),
        **({name: source[name] for name in ("when", "_when") if name in source} or {"_when": absent_value()}),
    }


def _as_signed(source: JsonElement) -> JsonElement:
    fillers = {"type": [absent_value()], "who": absent_value(), "_when": absent_value()}
    return {name: value for name, value in source.items() if fillers.get(name) != value or name == "when"}


TYPE_RULES = (
    TypeRules(
        "Attachment",
        "Attachment",
        (
            ElementRule(elements("size:unsignedInt"), elements("size:integer64"), _long_size, _short_size),
            *only_in_r5(
                "height:positiveInt width:positiveInt frames:positiveInt duration:decimal pages:positiveInt"
            ),
        ),
    ),
    TypeRules(
        "SampledData",
        "SampledData",
        (
            ElementRule(
                elements("period:decimal"), elements("interval:decimal intervalUnit:code"), _interval, _period
            ),
            *only_in_r5("codeMap:canonical offsets:string"),
        ),
    ),
    TypeRules("Quantity", "Quantity", (CodeRule("comparator", code_map({}), code_map({"ad": None})),)),
    TypeRules("Annotation", "Annotation"),
    TypeRules("DataRequirement", "DataRequirement", only_in_r5("valueFilter:DataRequirement.valueFilter*")),
    TypeRules(
        "Dosage",
        "Dosage",
        (
            ElementRule(
                elements("asNeeded[x]:boolean|CodeableConcept"),
                elements("asNeeded:boolean asNeededFor:CodeableConcept*"),
                _as_needed_for,
                _as_needed,
            ),
            single_to_list("maxDosePerPeriod", "Ratio"),
        ),
    ),
    TypeRules("Expression", "Expression", (required_primitive("language", "code", in_r5=False),)),
    TypeRules(
        "RelatedArtifact",
        "RelatedArtifact",
        (
            *only_in_r4("url:url"),
            *only_in_r5(
                "classifier:CodeableConcept* resourceReference:Reference publicationStatus:code "
                "publicationDate:date"
            ),
        ),
    ),
    TypeRules(
        "Signature",
        "Signature",
        (
            ElementRule(
                elements("type:Coding* when:instant who:Reference"),
                elements("type:Coding* when:instant who:Reference"),
                _as_signed,
                _signed,
            ),
        ),
    ),
    TypeRules(
        "TriggerDefinition",
        "TriggerDefinition",
        only_in_r5("code:CodeableConcept subscriptionTopic:canonical"),
    ),
)
