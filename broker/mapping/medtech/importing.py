"""Turns MedTech templates into mapping files: one for each device content template, all of one collection.

Device content says where values are, and the FHIR mapping template of the same type name what they become.
Codes, units and values are as the templates have them; nothing is converted or completed. What a mapping
cannot say is in `ImportResult.left_out`.
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from broker.mapping.codes import MDC
from broker.mapping.compiling import compile_mapping
from broker.mapping.errors import MappingError
from broker.mapping.medtech.templates import (
    JMESPATH,
    ContentTemplate,
    FhirTemplate,
    FhirValue,
    TemplateExpression,
    Templates,
    ValueTemplate,
)
from broker.mapping.sampled import MAX_SAMPLES, can_merge

_HEAD = "# yaml-language-server: $schema={schema}\n# Imported from the MedTech templates of {name}.\n"
_SERVICE = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"
"""The code system in which the MedTech service repeats its type and value names."""
_TOKEN = "matchedToken"  # noqa: S105 a name of the MedTech service
_CHILD = re.compile(r"\.([A-Za-z_][\w-]*)|\[\s*'([^'\\]+)'\s*\]|\[\s*\"([^\"\\]+)\"\s*\]")
_NAME = re.compile(r"[A-Za-z_]\w*")
_WINDOWS = {60: "hour", 1440: "day"}


class _Dumper(yaml.SafeDumper):
    """Writes equal values twice, and not as an alias of each other."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


class Systems(NamedTuple):
    """The identifier systems, which templates do not name."""

    device: str
    patient: str
    encounter: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not carried over, or not wholly. `part` is the member of the template."""

    template: str
    part: str
    text: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """`files` by name, and what they lack."""

    files: Mapping[str, str]
    left_out: Sequence[LeftOut]


def import_templates(templates: Templates, name: str, systems: Systems, schema: str) -> ImportResult:
    """`name` is that of the collection and the beginning of the mappings' names; `schema` the path or URL of
    the JSON Schema for editors.
    """
    files: dict[str, str] = {}
    left_out = [LeftOut(template, "", text) for template, text in templates.problems]
    used: set[str] = set()
    for content in templates.content:
        fhir = templates.fhir.get(content.type_name.lower())
        if fhir is None:
            text = "no FHIR mapping template has this typeName, so its values become nothing."
            left_out.append(LeftOut(content.type_name, "typeName", text))
            continue
        used.add(content.type_name.lower())
        slug = _slug(f"{name}-{content.type_name}", files)
        shared = [each for each in templates.content if each.type_name.lower() == fhir.type_name.lower()]
        names = {value.name for each in shared for value in each.values}
        conversion = _Conversion(content, fhir, systems, names)
        document = conversion.document(slug, name)
        left_out += conversion.left_out
        text = _HEAD.format(schema=schema, name=name)
        text += yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=108)
        try:
            compile_mapping(f"{slug}.yaml", text)
        except MappingError as error:
            left_out.append(LeftOut(content.type_name, error.field, error.text))
            continue
        files[slug] = text
    for key, fhir in templates.fhir.items():
        if key not in used:
            left_out.append(
                LeftOut(fhir.type_name, "typeName", "no device content template has this typeName.")
            )
    return ImportResult({f"{slug}.yaml": text for slug, text in files.items()}, left_out)


def _slug(text: str, taken: Mapping[str, str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50] or "imported"
    number, free = 2, slug
    while free in taken:
        free, number = f"{slug}-{number}", number + 1
    return free


class _Conversion:
    """The conversion of one content template with its FHIR mapping template. `names` are the values that any
    of the content templates of the type has.
    """

    def __init__(
        self, content: ContentTemplate, fhir: FhirTemplate, systems: Systems, names: AbstractSet[str]
    ) -> None:
        self.left_out: list[LeftOut] = []
        self._content = content
        self._fhir = fhir
        self._systems = systems
        self._names = names
        self._values: Mapping[str, ValueTemplate] = {each.name: each for each in content.values}

    def document(self, slug: str, collection: str) -> dict[str, Any]:
        content = self._content
        document: dict[str, Any] = {
            "name": slug,
            "title": content.type_name,
            "collection": collection,
            "match": _expression(content.match),
            "select": _selection(content.match),
        }
        if content.has_matched_token:
            document["as"] = _TOKEN
        document["device"] = self._identity(content.device, self._systems.device)
        for key, expression, system in (
            ("patient", content.patient, self._systems.patient),
            ("encounter", content.encounter, self._systems.encounter),
        ):
            if expression is not None:
                document[key] = self._identity(expression, system)
        time = _expression(content.time)
        # the service always writes a period
        document["time"] = {"value": time, "end": time, "zone": "UTC"}
        document["observations"] = [self._observation()]
        return document

    def _leave_out(self, part: str, text: str) -> None:
        self.left_out.append(LeftOut(self._content.type_name, part, text))

    def _identity(self, expression: TemplateExpression, system: str) -> dict[str, Any]:
        return {"identifier": {"system": system, "value": _expression(expression)}}

    def _observation(self) -> dict[str, Any]:
        fhir = self._fhir
        observation: dict[str, Any] = {
            "name": _slug(self._content.type_name, {}),
            "title": self._content.type_name,
        }
        observation["code"] = [*self._codings(fhir.codes, "codes"), _own(self._content.type_name)]
        if categories := self._categories():
            observation["category"] = categories
        if fhir.value is not None:
            observation |= self._value(fhir.value, "value")
        components = [
            {
                "name": _slug(each.value.name, {}),
                "title": each.value.name,
                "code": [*self._codings(each.codes, "components.codes"), _own(each.value.name)],
                **value,
            }
            for each in fhir.components
            if (value := self._value(each.value, "components"))
        ]
        if components:
            observation["components"] = components
        self._interval(observation)
        return observation

    def _interval(self, observation: dict[str, Any]) -> None:
        interval = self._fhir.interval
        if interval == -1:
            if self._content.correlation is None:
                self._leave_out(
                    "periodInterval", "readings are grouped by a correlation id, and there is none."
                )
                return
            observation["merge"] = {"by": _expression(self._content.correlation)}
        elif interval == 0 and self._fhir.components:
            observation["merge"] = "time"
        elif interval in _WINDOWS:
            window = _WINDOWS[interval]
            if all(can_merge(window, period) for period in _periods(observation)):
                observation["merge"] = window
            else:
                self._leave_out(
                    "periodInterval",
                    f"each reading is an Observation of its own: one {window} would have more than "
                    f"{MAX_SAMPLES} samples of its defaultPeriod.",
                )

    def _categories(self) -> list[dict[str, Any]]:
        categories: list[dict[str, Any]] = []
        for category in self._fhir.categories:
            text = category.get("text") or ""
            codes = category.get("codes")
            codings = self._codings(codes if isinstance(codes, list) else (), "category.codes")
            if len(codings) == 1 and not text:
                categories += codings
            elif codings or text:
                categories.append({"text": text} | ({"codes": codings} if codings else {}))
            else:
                self._leave_out("category", "a category without text and codes is left out.")
        return categories

    def _codings(self, codes: Sequence[Mapping[str, Any]], part: str) -> list[dict[str, Any]]:
        codings = []
        for each in codes:
            system, code, display = (
                str(each.get(name) or "").strip() for name in ("system", "code", "display")
            )
            if not code and not display:
                self._leave_out(part, "a code without code and display is left out.")
                continue
            if system and not {":", "."} & {*system}:
                self._leave_out(part, f"the system {system} is no URL, so the code {code} is of no system.")
                system = ""
            coding: dict[str, Any] = {"system": system, "code": code}
            if system == MDC:
                if not code.isdecimal():
                    self._leave_out(part, f"{code} is left out: an MDC code is a number.")
                    continue
                coding["partition"] = 0
            codings.append(coding | ({"display": display} if display else {}))
        return codings

    def _value(self, value: FhirValue, part: str) -> dict[str, Any]:
        """The keys of an observation or component for a value; empty if the device content has none."""
        source = self._values.get(value.name)
        if source is None:
            if value.name not in self._names:
                self._leave_out(part, f"the device content has no value of the name {value.name}.")
            return {}
        expression = _expression(source.expression)
        keys: dict[str, Any] = {"when": "`true`"} if source.is_required else {}
        members = {
            name: value.members[name]
            for name in ("unit", "system", "code")
            if isinstance(value.members.get(name), str) and value.members[name]
        }
        match value.kind:
            case "quantity":
                return keys | {"value": expression, "quantity": members}
            case "sampleddata":
                period = value.members.get("defaultperiod")
                if isinstance(period, bool) or not isinstance(period, int | float) or period <= 0:
                    self._leave_out(part, "sampled data needs a defaultPeriod; the value is left out.")
                    return {}
                unit = {"unit": members["unit"]} if "unit" in members else {}
                return keys | {"sampled-data": {"samples": expression, "period": period}, "quantity": unit}
            case "string":
                return keys | {"value": expression, "kind": "string"}
            case _:
                codings = self._codings(value.members.get("codes") or (), f"{part}.codes")
                text = value.members.get("text")
                fixed = ({"codes": codings} if codings else {}) | ({"text": text} if text else {})
                return keys | {"value": expression, "kind": "concept", "concept": fixed}


def _periods(observation: Mapping[str, Any]) -> list[Any]:
    """Those of its sampled data."""
    values = [observation, *observation.get("components", ())]
    return [each["sampled-data"]["period"] for each in values if "sampled-data" in each]


def _own(name: str) -> dict[str, str]:
    """The coding by which the MedTech service names a type or value itself."""
    return {"system": _SERVICE, "code": name, "display": name}


def _selection(expression: TemplateExpression) -> str | dict[str, str]:
    """That of the readings: what JSONPath finds, and a JMESPath array only if it is a projection; an array
    that is found is one reading.
    """
    if expression.language == JMESPATH:
        is_path = re.fullmatch(r'[\w."-]+', expression.text.strip()) is not None
        return f"[{expression.text}][?@ != `null`]" if is_path else expression.text
    return {"jsonpath": expression.text.strip()}


def _expression(expression: TemplateExpression) -> str | dict[str, str]:
    """As a mapping file writes it: JSONPath that is a plain path becomes JMESPath."""
    if expression.language == JMESPATH:
        return expression.text
    text = expression.text.strip()
    if (path := _plain_path(text)) is not None:
        return path
    return {"jsonpath": text}


def _plain_path(text: str) -> str | None:
    """`$.a['b-c']` as `a."b-c"`."""
    if not text.startswith("$") or text == "$":
        return None
    rest, names = text[1:], []
    while rest:
        found = _CHILD.match(rest)
        if found is None:
            return None
        names.append(found[1] or found[2] or found[3])
        rest = rest[found.end() :]
    return ".".join(name if _NAME.fullmatch(name) else f'"{name}"' for name in names)
