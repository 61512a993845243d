"""There and back is the same, for instances drawn from the element lists of each release; and what comes out
is valid.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import orjson
import pytest
from fhir.resources import get_fhir_model_class as find_r5
from fhir.resources.R4B import get_fhir_model_class as find_r4b
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from broker.errors import Unprocessable
from broker.fhir.conversion import convert
from broker.fhir.conversion.datatypes import MISSING_VALUE_TYPES
from broker.fhir.conversion.rule_tables import CONVERTIBLE, TYPE_RULES
from broker.fhir.conversion.type_rules import CodeRule, capitalized
from broker.fhir.validation import validate
from broker.model.json_text import items, join
from broker.model.json_text import members as members_of
from broker.model.release import Release
from broker.model.resource import Resource

R4, R4B, R5 = Release.R4, Release.R4B, Release.R5
VERSION = {R4: "4.0", R4B: "4.3", R5: "5.0"}
LEFT_OUT = {"contained", "text", "meta", "implicitRules", "language"}
COMMON = {"id", "extension", "modifierExtension"}
DEEPEST = 4
PYTHON = {"bool": "Boolean", "uuid": "Uuid", "EncodedBytes": "Base64Binary", "AnyUrl": "Url"}
IGNORED = {"Optional", "List", "Annotated", "Union", "None", "NoneType"}
QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
PAIRS = [(R4, R5), (R5, R4), (R4B, R5), (R5, R4B), (R4, R4B), (R4B, R4)]


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
    found = []
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
        type_name = PYTHON.get(words[0], words[0].removesuffix("Type"))
        lacked = release in MISSING_VALUE_TYPES and name.removeprefix("value") in {
            capitalized(one) for one in MISSING_VALUE_TYPES[release]
        }
        if kind == "Extension" and lacked:
            continue
        found.append(
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
                tuple(extra.get("enum_reference_types") or ()),
                f"_{name}" in aliases,
                bool(extra.get("one_of_many_required")),
            )
        )
    return tuple(found)


@st.composite
def names(draw: st.DrawFn, known: tuple[Element, ...], depth: int) -> set[str]:
    """Which elements an object has: those it must, and some others."""
    wanted = {one.name for one in known if one.required}
    optional = [one for one in known if not one.required and (depth < DEEPEST or one.kind in PRIMITIVES)]
    chosen = (
        draw(st.lists(st.sampled_from(optional), max_size=max(6 - depth, 0), unique=True)) if optional else []
    )
    for group in {one.choice for one in known if one.must_choose}:
        wanted.add(draw(st.sampled_from([one.name for one in known if one.choice == group])))
    choices = {one.choice for one in known if one.name in wanted and one.choice}
    for one in chosen:
        if not one.choice or one.choice not in choices:
            wanted.add(one.name)
            choices.add(one.choice)
    if wanted <= COMMON:
        others = [one for one in known if one.name not in COMMON]
        wanted.add(next((one.name for one in others if one.kind in PRIMITIVES), others[0].name))
    if any(name.startswith("value") for name in wanted):
        wanted.discard("dataAbsentReason")
    return wanted


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
    known = elements(release, kind)
    wanted = draw(names(known, depth))
    node: dict[str, Any] = {}
    for one in known:
        if one.name in wanted:
            node |= draw(members(release, one, depth))
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
def members(draw: st.DrawFn, release: Release, one: Element, depth: int) -> dict[str, Any]:
    if one.kind in PRIMITIVES:
        plain = st.sampled_from(one.codes) if one.codes and one.kind == "Code" else PRIMITIVES[one.kind]
        value = draw(plain)
        node: dict[str, Any] = {one.name: [value] if one.many else value}
        if one.has_sibling and draw(st.integers(0, 7)) == 0:
            sibling = {"extension": [draw(extensions(release, DEEPEST))]}
            node[f"_{one.name}"] = [sibling] if one.many else sibling
        return node
    item = objects(release, one.kind, depth + 1, one.refers_to)
    return {one.name: draw(st.lists(item, min_size=1, max_size=2)) if one.many else draw(item)}


@st.composite
def extensions(draw: st.DrawFn, release: Release, depth: int) -> dict[str, Any]:
    """Foreign ones; of every type while there is room."""
    url = draw(st.sampled_from(["http://x.example/e", "http://y.example/e"]))
    values = [one for one in elements(release, "Extension") if one.name.startswith("value")]
    plain = [one for one in values if one.kind in PRIMITIVES]
    one = draw(st.sampled_from(values if depth < DEEPEST - 1 else plain))
    if depth < DEEPEST and draw(st.integers(0, 4)) == 0:
        inner = draw(st.lists(extensions(release, depth + 1), min_size=1, max_size=2))
        return {"url": url, "extension": inner}
    return {"url": url, **draw(members(release, one, DEEPEST))}


@st.composite
def resources(draw: st.DrawFn, release: Release, kind: str) -> dict[str, Any]:
    return {"resourceType": kind, **draw(objects(release, kind))}


@st.composite
def with_carriers(draw: st.DrawFn, release: Release, other: Release, kind: str) -> dict[str, Any]:
    """A resource with cross-version extensions that nobody converted it into: some fit, most don't."""
    resource = draw(resources(release, kind))
    fields = [
        (f"{k.r5 if other is R5 else k.r4}.{one.name}", types)
        for k in TYPE_RULES
        if kind in {k.r4, k.r5}
        for rule in k.rules
        if not isinstance(rule, CodeRule)
        for one in (rule.r5 if other is R5 else rule.r4)
        for types in one.types
    ]
    assume(fields)
    carriers = []
    for path, type_name in draw(st.lists(st.sampled_from(fields), min_size=1, max_size=3)):
        url = f"http://hl7.org/fhir/{VERSION[other]}/StructureDefinition/extension-{path}"
        held = [
            one for one in elements(release, "Extension") if one.name == f"value{capitalized(type_name)}"
        ] or [one for one in elements(release, "Extension") if one.name == "valueString"]
        carriers.append({"url": url, **draw(members(release, held[0], DEEPEST))})
    return {**resource, "extension": [*resource.get("extension", []), *carriers]}


def written(value: object) -> bytes:
    """JSON with each number as it is spelt."""
    if isinstance(value, Spelt):
        return value.encode()
    if isinstance(value, dict):
        return (
            b"{" + b",".join(orjson.dumps(name) + b":" + written(one) for name, one in value.items()) + b"}"
        )
    if isinstance(value, list):
        return b"[" + b",".join(written(one) for one in value) + b"]"
    return orjson.dumps(value)


def meaning(body: bytes) -> object:
    """The JSON with its numbers as spelt, in which neither the order of members nor that of extensions
    counts.
    """

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: sorted(map(repr, map(ordered, one))) if name == "extension" else ordered(one)
                for name, one in sorted(value.items())
            }
        return [ordered(one) for one in value] if isinstance(value, list) else value

    return ordered(
        json.loads(body, parse_float=lambda text: ("number", text), parse_int=lambda text: ("number", text))
    )


def check(body: bytes, kind: str, source: Release, target: Release) -> None:
    converted = convert(Resource(body), kind, source, target)
    assert converted is not None
    validate(target, kind, converted)
    back = convert(converted, kind, target, source)
    assert back is not None
    assert meaning(back.text) == meaning(body)


@pytest.mark.parametrize("kind", sorted(CONVERTIBLE))
@pytest.mark.parametrize(("source", "target"), PAIRS, ids=str)
def test_conversion_there_and_back_gives_the_same_resource(
    kind: str, source: Release, target: Release
) -> None:
    @QUICK
    @given(resources(source, kind))
    def law(resource: dict[str, Any]) -> None:
        body = written(resource)
        validate(source, kind, Resource(body))
        check(body, kind, source, target)

    law()


CARRYING = [
    (kind, source, target)
    for source, target in PAIRS[:4]
    for kind in sorted(CONVERTIBLE - {"Patient"})
    if (kind, source) != ("Observation", R5)  # R5 took nothing away from it
]


@pytest.mark.parametrize(("kind", "source", "target"), CARRYING)
def test_cross_version_extensions_of_any_origin_are_converted_without_loss(
    kind: str, source: Release, target: Release
) -> None:
    @QUICK
    @given(with_carriers(source, target, kind))
    def law(resource: dict[str, Any]) -> None:
        body = written(resource)
        validate(source, kind, Resource(body))
        check(body, kind, source, target)

    law()


@pytest.mark.parametrize(("kind", "source", "target"), CARRYING)
def test_a_converted_and_then_edited_resource_is_converted_without_loss(
    kind: str, source: Release, target: Release
) -> None:
    @QUICK
    @given(resources(target, kind), st.data())
    def law(resource: dict[str, Any], data: st.DataObject) -> None:
        converted = convert(Resource(written(resource)), kind, target, source)
        assert converted is not None
        parts = members_of(converted.text)
        extensions = items(parts.get("extension", b"[]"))
        place: int = data.draw(st.integers(-1, len(extensions) - 1))
        if place >= 0:
            del extensions[place]
            parts["extension"] = b"[" + b",".join(extensions) + b"]"
            if not extensions:
                del parts["extension"]
        elif len(parts) > 1:
            name: str = data.draw(st.sampled_from(sorted(parts.keys() - {"resourceType"})))
            del parts[name]
        body = join(parts)
        try:
            validate(source, kind, Resource(body))
        except Unprocessable:
            assume(False)
        check(body, kind, source, target)

    law()
