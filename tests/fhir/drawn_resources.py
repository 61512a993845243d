"""Draws resources of a release from the element lists of fhir.resources, and writes them as JSON."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import orjson
from fhir.resources import get_fhir_model_class as find_r5
from fhir.resources.R4B import get_fhir_model_class as find_r4b
from hypothesis import assume
from hypothesis import strategies as st
from pydantic import BaseModel

from broker.fhir.conversion.datatypes import MISSING_VALUE_TYPES
from broker.fhir.conversion.rule_tables import TYPE_RULES
from broker.fhir.conversion.type_rules import CodeRule, capitalized
from broker.model.release import Release

R4, R4B, R5 = Release.R4, Release.R4B, Release.R5
VERSION = {R4: "4.0", R4B: "4.3", R5: "5.0"}
LEFT_OUT = {"contained", "text", "meta", "implicitRules", "language"}
COMMON = {"id", "extension", "modifierExtension"}
DEEPEST = 4
PYTHON = {"bool": "Boolean", "uuid": "Uuid", "EncodedBytes": "Base64Binary", "AnyUrl": "Url"}
IGNORED = {"Optional", "List", "Annotated", "Union", "None", "NoneType"}


class Spelt(str):
    """A number by its spelling."""

    __slots__ = ()


WORDS = st.sampled_from(["a", "b c", "ü", '"quoted"', "x/y"])
NUMBERS = st.sampled_from(["0", "1.0", "2.00", "0.5", "1e1", "12", "0.0025"])
WHOLE = st.sampled_from(["1", "2", "60"])
PRIMITIVES: dict[str, st.SearchStrategy[object]] = {
    "String": WORDS,
    "Markdown": WORDS,
    "Code": st.sampled_from(["s", "ms", "min", "arrived"]),
    "Uri": st.sampled_from(["urn:a", "http://unitsofmeasure.org"]),
    "Url": st.just("http://x.example/1"),
    "Canonical": st.just("http://x.example/c|1"),
    "Id": st.just("i-1"),
    "Oid": st.just("urn:oid:1.2"),
    "Uuid": st.just("urn:uuid:9e1ff8ee-8d2c-4c0b-9f3b-5d34ff2c0b5a"),
    "DateTime": st.sampled_from(["2025-01-02", "2025-01-02T03:04:05Z"]),
    "Date": st.just("2025-01-02"),
    "Time": st.just("03:04:05"),
    "Instant": st.just("2025-01-02T03:04:05.000+01:00"),
    "Base64Binary": st.just("aGk="),
    "Boolean": st.booleans(),
    "Decimal": NUMBERS.map(Spelt),
    "Integer": WHOLE.map(Spelt),
    "PositiveInt": WHOLE.map(Spelt),
    "UnsignedInt": WHOLE.map(Spelt),
    "Integer64": st.sampled_from(["0", "7", "99999999999"]),
}
CODES = {
    "Observation.status": {R4: ["final", "amended"], R5: ["final", "cancelled"]},
    "Encounter.status": {
        R4: ["planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "unknown"],
        R5: ["planned", "in-progress", "on-hold", "discharged", "completed", "discontinued", "cancelled"],
    },
    "Device.status": {R4: ["active", "inactive", "unknown"], R5: ["active", "inactive", "entered-in-error"]},
    "DeviceMetric.color": {R4: ["red", "cyan"], R5: ["red", "orange"]},
    "Quantity.comparator": {R4: ["<", ">="], R5: ["<", ">=", "ad"]},
    "DeviceDeviceName.type": {R4: ["udi-label-name", "user-friendly-name", "model-name", "other"]},
    "DeviceName.type": {R5: ["registered-name", "user-friendly-name", "patient-reported-name"]},
    "SampledData.intervalUnit": {R5: ["ms", "s", "us", "mo"]},
    "DiagnosticReport.status": {R4: ["final", "amended"], R5: ["final", "modified"]},
    "Narrative.status": {R4: ["generated"], R5: ["generated"]},
}


class Element(NamedTuple):
    name: str
    kind: str
    many: bool
    required: bool
    choice: str
    codes: tuple[str, ...]
    refers_to: tuple[str, ...]
    has_sibling: bool
    must_choose: bool


@cache
def elements(release: Release, kind: str) -> tuple[Element, ...]:
    find = cast("Callable[[str], type[BaseModel]]", find_r5 if release is R5 else find_r4b)
    result = []
    fields = find(kind).model_fields
    aliases = {field.alias for field in fields.values()}
    for key, field in fields.items():
        name = field.alias or key
        extra = cast("dict[str, Any]", field.json_schema_extra or {})
        if name.startswith("_") or name in {"fhir_comments", "resource_type", "resourceType"}:
            continue
        if "implicitRules" in aliases and name in LEFT_OUT:
            continue
        text = str(field.annotation)
        words = [
            word for word in re.findall(r"\b(?:[A-Z][A-Za-z0-9]*|bool|uuid)\b", text) if word not in IGNORED
        ]
        # the id of an element is a text without blanks
        type_name = "Id" if name == "id" else PYTHON.get(words[0], words[0].removesuffix("Type"))
        lacked = release in MISSING_VALUE_TYPES and name.removeprefix("value") in {
            capitalized(element) for element in MISSING_VALUE_TYPES[release]
        }
        if kind == "Extension" and lacked:
            continue
        result.append(
            Element(
                name,
                type_name,
                "List" in text or "list[" in text,
                bool(extra.get("element_required")) or field.is_required(),
                extra.get("one_of_many") or "",
                tuple(
                    CODES.get(f"{kind}.{name}", {}).get(R4 if release is R4B else release)
                    or extra.get("enum_values")
                    or ()
                ),
                _targets(release, f"{kind}.{name}", extra),
                f"_{name}" in aliases,
                bool(extra.get("one_of_many_required")),
            )
        )
    return tuple(result)


def _targets(release: Release, path: str, extra: dict[str, Any]) -> tuple[str, ...]:
    """The types that the element refers to; the classes of R4B, which R4 uses too, allow more than R4."""
    if release is R4 and path in {"DiagnosticReport.subject", "Observation.subject"}:
        return ("Patient", "Group", "Device", "Location")
    return tuple(extra.get("enum_reference_types") or ())


@st.composite
def names(draw: st.DrawFn, available: tuple[Element, ...], depth: int) -> set[str]:
    """Which elements an object has: those it must, and some others."""
    names_chosen = {element.name for element in available if element.required}
    optional = [
        element
        for element in available
        if not element.required and (depth < DEEPEST or element.kind in PRIMITIVES)
    ]
    chosen = (
        draw(st.lists(st.sampled_from(optional), max_size=max(6 - depth, 0), unique=True)) if optional else []
    )
    for group in {element.choice for element in available if element.must_choose}:
        names_chosen.add(
            draw(st.sampled_from([element.name for element in available if element.choice == group]))
        )
    choices = {element.choice for element in available if element.name in names_chosen and element.choice}
    for element in chosen:
        if not element.choice or element.choice not in choices:
            names_chosen.add(element.name)
            choices.add(element.choice)
    if names_chosen <= COMMON:
        others = [element for element in available if element.name not in COMMON]
        names_chosen.add(
            next((element.name for element in others if element.kind in PRIMITIVES), others[0].name)
        )
    if any(name.startswith("value") for name in names_chosen):
        names_chosen.discard("dataAbsentReason")
    return names_chosen


@st.composite
def objects(
    draw: st.DrawFn, release: Release, kind: str, depth: int = 0, refers_to: tuple[str, ...] = ()
) -> dict[str, Any]:
    if kind == "Reference":
        target = draw(st.sampled_from(refers_to or ("Patient",)))
        return {"reference": f"{'Patient' if target == 'Resource' else target}/1"}
    if kind == "Extension":
        return draw(extensions(release, depth))
    if kind == "CodeableReference":
        return draw(codeable_references(release, refers_to))
    available = elements(release, kind)
    names_chosen = draw(names(available, depth))
    node: dict[str, Any] = {}
    for element in available:
        if element.name in names_chosen:
            node |= draw(members(release, element, depth))
    return node


def codeable_references(release: Release, refers_to: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    reference = objects(release, "Reference", DEEPEST, refers_to)
    concept = st.just({"text": "concept"})
    return st.one_of(
        st.fixed_dictionaries({"concept": concept}),
        st.fixed_dictionaries({"reference": reference}),
        st.fixed_dictionaries({"concept": concept, "reference": reference}),
    )


@st.composite
def members(draw: st.DrawFn, release: Release, element: Element, depth: int) -> dict[str, Any]:
    if element.kind in PRIMITIVES:
        plain = (
            st.sampled_from(element.codes)
            if element.codes and element.kind == "Code"
            else PRIMITIVES[element.kind]
        )
        value = draw(plain)
        node: dict[str, Any] = {element.name: [value] if element.many else value}
        if element.has_sibling and draw(st.integers(0, 7)) == 0:
            sibling = {"extension": [draw(extensions(release, DEEPEST))]}
            node[f"_{element.name}"] = [sibling] if element.many else sibling
        return node
    item = objects(release, element.kind, depth + 1, element.refers_to)
    return {element.name: draw(st.lists(item, min_size=1, max_size=2)) if element.many else draw(item)}


@st.composite
def extensions(draw: st.DrawFn, release: Release, depth: int) -> dict[str, Any]:
    """Foreign ones; of every type while there is room."""
    url = draw(st.sampled_from(["http://x.example/e", "http://y.example/e"]))
    values = [element for element in elements(release, "Extension") if element.name.startswith("value")]
    plain = [element for element in values if element.kind in PRIMITIVES]
    element = draw(st.sampled_from(values if depth < DEEPEST - 1 else plain))
    if depth < DEEPEST and draw(st.integers(0, 4)) == 0:
        inner = draw(st.lists(extensions(release, depth + 1), min_size=1, max_size=2))
        return {"url": url, "extension": inner}
    return {"url": url, **draw(members(release, element, DEEPEST))}


@st.composite
def resources(draw: st.DrawFn, release: Release, kind: str) -> dict[str, Any]:
    return {"resourceType": kind, **draw(objects(release, kind))}


@st.composite
def with_extensions(draw: st.DrawFn, release: Release, other: Release, kind: str) -> dict[str, Any]:
    """A resource with cross-version extensions that nobody converted it into: some fit, most don't."""
    resource = draw(resources(release, kind))
    fields = [
        (f"{k.r5 if other is R5 else k.r4}.{element.name}", types)
        for k in TYPE_RULES
        if kind in {k.r4, k.r5}
        for rule in k.rules
        if not isinstance(rule, CodeRule)
        for element in (rule.r5 if other is R5 else rule.r4)
        for types in element.types
    ]
    assume(fields)
    extensions = []
    for path, type_name in draw(st.lists(st.sampled_from(fields), min_size=1, max_size=3)):
        url = f"http://hl7.org/fhir/{VERSION[other]}/StructureDefinition/extension-{path}"
        values = [
            element
            for element in elements(release, "Extension")
            if element.name == f"value{capitalized(type_name)}"
        ] or [element for element in elements(release, "Extension") if element.name == "valueString"]
        extensions.append({"url": url, **draw(members(release, values[0], DEEPEST))})
    return {**resource, "extension": [*resource.get("extension", []), *extensions]}


def written(value: object) -> bytes:
    """JSON with each number as it is spelt."""
    if isinstance(value, Spelt):
        return value.encode()
    if isinstance(value, dict):
        return (
            b"{"
            + b",".join(orjson.dumps(name) + b":" + written(element) for name, element in value.items())
            + b"}"
        )
    if isinstance(value, list):
        return b"[" + b",".join(written(element) for element in value) + b"]"
    return orjson.dumps(value)


def meaning(body: bytes) -> object:
    """The JSON with its numbers as spelt, in which neither the order of members nor that of extensions
    counts.
    """

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: sorted(map(repr, map(ordered, element))) if name == "extension" else ordered(element)
                for name, element in sorted(value.items())
            }
        return [ordered(element) for element in value] if isinstance(value, list) else value

    return ordered(
        json.loads(body, parse_float=lambda text: ("number", text), parse_int=lambda text: ("number", text))
    )
