"""Data types that R5 changed, wherever they are used: Attachment, SampledData, Quantity, and those only extensions hold."""

from decimal import Decimal

import msgspec

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
)

_LARGEST = 2**31 - 1
_MS_EXPONENT = {"ms": 0, "s": 3, "us": -3, "ns": -6}


def _long_size(given: Node) -> Node:
    """R5 writes an integer64 as text (R-221)."""
    size = given.get("size")
    if size is None or not bytes(size).isdigit():
        return {name: value for name, value in given.items() if name == "_size"}
    return {**given, "size": bytes(size).decode()}


def _short_size(given: Node) -> Node:
    size = given.get("size")
    text = size if isinstance(size, str) else bytes(size or b"").decode()
    if not text.isdecimal() or not text.isascii() or int(text) > _LARGEST or text != str(int(text)):
        return {name: value for name, value in given.items() if name == "_size"}
    return {**given, "size": msgspec.Raw(text.encode())}


def _interval(given: Node) -> Node:
    """R4 `period` is in ms; R5 has `interval` in a unit of its own."""
    names = {"period": "interval", "_period": "_interval"}
    known = {} if given == {"_period": absent()} else given
    return {**{names[name]: value for name, value in known.items()}, "intervalUnit": "ms"}


def _period(given: Node) -> Node:
    exponent = _MS_EXPONENT.get(given.get("intervalUnit", ""))
    sibling = {"_period": given["_interval"]} if "_interval" in given else {}
    if exponent is None or "interval" not in given:
        return sibling or {"_period": absent()}
    period = given["interval"]
    if exponent:
        period = msgspec.Raw(f"{Decimal(bytes(period).decode()).scaleb(exponent):f}".encode())
    return {"period": period, **sibling}


def _as_needed_for(given: Node) -> Node:
    names = {"asNeededBoolean": "asNeeded", "_asNeededBoolean": "_asNeeded"}
    found = {names[name]: value for name, value in given.items() if name in names}
    concept = given.get("asNeededCodeableConcept")
    return found if concept is None else {**found, "asNeededFor": [concept]}


def _as_needed(given: Node) -> Node:
    if given.get("asNeededFor"):
        return {"asNeededCodeableConcept": given["asNeededFor"][0]}
    names = {"asNeeded": "asNeededBoolean", "_asNeeded": "_asNeededBoolean"}
    return {names[name]: value for name, value in given.items() if name in names}


def _signed(given: Node) -> Node:
    """R4 requires all three elements of a Signature."""
    return {
        "type": given.get("type", [absent()]),
        "who": given.get("who", absent()),
        **({name: given[name] for name in ("when", "_when") if name in given} or {"_when": absent()}),
    }


def _as_signed(given: Node) -> Node:
    fillers = {"type": [absent()], "who": absent(), "_when": absent()}
    return {name: value for name, value in given.items() if fillers.get(name) != value or name == "when"}


KINDS = (
    Kind(
        "Attachment",
        "Attachment",
        (
            Rule(fields("size:unsignedInt"), fields("size:integer64"), _long_size, _short_size),
            *added(
                "height:positiveInt width:positiveInt frames:positiveInt duration:decimal pages:positiveInt"
            ),
        ),
    ),
    Kind(
        "SampledData",
        "SampledData",
        (
            Rule(fields("period:decimal"), fields("interval:decimal intervalUnit:code"), _interval, _period),
            *added("codeMap:canonical offsets:string"),
        ),
    ),
    Kind("Quantity", "Quantity", (Codes("comparator", recoded({}), recoded({"ad": None})),)),
    Kind("Annotation", "Annotation"),
    Kind("DataRequirement", "DataRequirement", added("valueFilter:DataRequirement.valueFilter*")),
    Kind(
        "Dosage",
        "Dosage",
        (
            Rule(
                fields("asNeeded[x]:boolean|CodeableConcept"),
                fields("asNeeded:boolean asNeededFor:CodeableConcept*"),
                _as_needed_for,
                _as_needed,
            ),
            listed("maxDosePerPeriod", "Ratio"),
        ),
    ),
    Kind("Expression", "Expression", (needed("language", "code", new=False),)),
    Kind(
        "RelatedArtifact",
        "RelatedArtifact",
        (
            *gone("url:url"),
            *added(
                "classifier:CodeableConcept* resourceReference:Reference publicationStatus:code publicationDate:date"
            ),
        ),
    ),
    Kind(
        "Signature",
        "Signature",
        (
            Rule(
                fields("type:Coding* when:instant who:Reference"),
                fields("type:Coding* when:instant who:Reference"),
                _as_signed,
                _signed,
            ),
        ),
    ),
    Kind("TriggerDefinition", "TriggerDefinition", added("code:CodeableConcept subscriptionTopic:canonical")),
)
