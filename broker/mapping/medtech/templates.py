"""Reads device content and FHIR mapping templates: JSON to values, whatever kind a template is of.

As the MedTech service has it: names of kinds and members are compared without regard to case, a kind may end
in `Template`, a file may have comments and commas at the ends of lists, and `true` may be a text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.errors import ConfigurationError

JSONPATH, JMESPATH = "jsonpath", "jmespath"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_COMMENTS = re.compile(rf"{_TEXT}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMAS = re.compile(rf"(?P<text>{_TEXT})|,(?=\s*[\]}}])")
_IOT_DEVICE = 'SystemProperties."iothub-connection-device-id"'
_IOT_TIME = 'Properties."iothub-creation-time-utc" || SystemProperties."iothub-enqueuedtime"'


@dataclass(frozen=True, slots=True)
class TemplateExpression:
    """An expression and its language."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class ValueTemplate:
    """A named value of a measurement."""

    name: str
    expression: TemplateExpression
    is_required: bool


@dataclass(frozen=True, slots=True)
class ContentTemplate:
    """A device content template. `has_matched_token`: its expressions see the whole payload, and what was
    matched as `matchedToken`; otherwise they see what was matched only.
    """

    type_name: str
    match: TemplateExpression
    device: TemplateExpression
    time: TemplateExpression
    patient: TemplateExpression | None
    encounter: TemplateExpression | None
    correlation: TemplateExpression | None
    values: Sequence[ValueTemplate]
    has_matched_token: bool


@dataclass(frozen=True, slots=True)
class FhirValue:
    """The value of an Observation or component: `kind` is quantity, sampleddata, string, codeableconcept."""

    kind: str
    name: str
    members: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FhirComponent:
    """A component of an Observation."""

    codes: Sequence[Mapping[str, Any]]
    value: FhirValue


@dataclass(frozen=True, slots=True)
class FhirTemplate:
    """A FHIR mapping template. `interval` in minutes; 0: none, -1: by correlation id."""

    type_name: str
    codes: Sequence[Mapping[str, Any]]
    categories: Sequence[Mapping[str, Any]]
    value: FhirValue | None
    components: Sequence[FhirComponent]
    interval: int


@dataclass(frozen=True, slots=True)
class Templates:
    """What files have. `problems` are the templates that cannot be read: type name and reason."""

    content: list[ContentTemplate] = field(default_factory=list)
    fhir: dict[str, FhirTemplate] = field(default_factory=dict)
    """By type name in small letters."""
    problems: list[tuple[str, str]] = field(default_factory=list)


class _Unreadable(ValueError):  # noqa: N818
    """A template lacks something or has what is not known."""


def read_templates(files: Mapping[str, bytes]) -> Templates:
    """The templates of files, by name of the file. Raises `ConfigurationError` for one that is no JSON or no
    template.
    """
    templates = Templates()
    for file, content in files.items():
        try:
            document = _small_names(json.loads(_plain_json(content.decode("utf-8-sig"))))
        except (ValueError, RecursionError):
            raise ConfigurationError(f"{file} is not JSON.") from None
        if not isinstance(document, dict) or not isinstance(document.get("templatetype"), str):
            raise ConfigurationError(f"{file} is no template: it has no templateType.")
        for container in _members(document):
            _add(templates, container)
    return templates


def _members(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The templates of a collection, or the one that it is."""
    if _kind(container) in {"collectioncontent", "collectionfhir"}:
        listed = container.get("template")
        for member in listed if isinstance(listed, list) else ():
            if isinstance(member, dict):
                yield from _members(member)
    else:
        yield container


def _add(templates: Templates, container: Mapping[str, Any]) -> None:
    kind = _kind(container)
    template = container.get("template")
    members = template if isinstance(template, dict) else {}
    name = str(members.get("typename") or "?")
    try:
        if kind == "codevaluefhir":
            fhir = _fhir(members, templates.fhir)
            templates.fhir[fhir.type_name.lower()] = fhir
        else:
            templates.content.append(_content(kind, members))
    except _Unreadable as error:
        templates.problems.append((name, f"{container.get('templatetype')}: {error}."))


def _kind(container: Mapping[str, Any]) -> str:
    return str(container.get("templatetype", "")).lower().removesuffix("template")


def _content(kind: str, members: Mapping[str, Any]) -> ContentTemplate:
    language = JSONPATH
    match kind:
        case "jsonpathcontent":
            device, time = (
                _expression(members, "deviceId", language),
                _expression(members, "timestamp", language),
            )
        case "iotjsonpathcontent":
            device, time = TemplateExpression(_IOT_DEVICE, JMESPATH), TemplateExpression(_IOT_TIME, JMESPATH)
        case "iotcentraljsonpathcontent":
            device, time = (
                TemplateExpression("$.deviceId", JSONPATH),
                TemplateExpression("$.enqueuedTime", JSONPATH),
            )
        case "calculatedcontent" | "calculatedfunctioncontent":
            language = str(members.get("defaultexpressionlanguage") or JSONPATH).lower()
            device, time = (
                _expression(members, "deviceId", language),
                _expression(members, "timestamp", language),
            )
        case _:
            raise _Unreadable("this kind of template is not known")
    match = _expression(members, "typeMatch", language)
    if match is None or device is None or time is None:
        raise _Unreadable("typeMatchExpression, deviceIdExpression and timestampExpression must be there")
    return ContentTemplate(
        type_name=_type_name(members),
        match=match,
        device=device,
        time=time,
        patient=_expression(members, "patientId", language),
        encounter=_expression(members, "encounterId", language),
        correlation=_expression(members, "correlationId", language),
        values=[_value_template(each, language) for each in members.get("values") or ()],
        has_matched_token=kind.startswith("calculated"),
    )


def _type_name(members: Mapping[str, Any]) -> str:
    name = members.get("typename")
    if not isinstance(name, str) or not name.strip():
        raise _Unreadable("typeName must be there")
    return name


def _expression(members: Mapping[str, Any], name: str, language: str) -> TemplateExpression | None:
    return _read_expression(members.get(f"{name}Expression".lower()), f"{name}Expression", language)


def _read_expression(value: Any, name: str, language: str) -> TemplateExpression | None:
    """Text in the default language, or an object that may name another."""
    if isinstance(value, dict):
        language = str(value.get("language") or language).lower()
        value = value.get("value")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _Unreadable(f"{name} must be text")
    if language not in {JSONPATH, JMESPATH}:
        raise _Unreadable(f"the language of {name} is not known")
    return TemplateExpression(value, language)


def _value_template(members: Any, language: str) -> ValueTemplate:
    if not isinstance(members, dict) or not isinstance(members.get("valuename"), str):
        raise _Unreadable("each of values must have a valueName")
    expression = _read_expression(members.get("valueexpression"), "valueExpression", language)
    if expression is None:
        raise _Unreadable("each of values must have a valueExpression")
    return ValueTemplate(members["valuename"], expression, str(members.get("required")).lower() == "true")


def _fhir(members: Mapping[str, Any], others: Mapping[str, FhirTemplate]) -> FhirTemplate:
    if _type_name(members).lower() in others:
        raise _Unreadable("another FHIR mapping template has the same typeName")
    codes = _objects(members.get("codes"))
    if not codes:
        raise _Unreadable("codes must be there")
    value = members.get("value")
    interval = members.get("periodinterval", 0)
    names = {"correlationid": -1, "single": 0, "hourly": 60, "daily": 1440}
    names |= {str(number): number for number in names.values()}
    interval = names.get(str(interval).lower())
    if interval is None:
        raise _Unreadable("periodInterval must be -1, 0, 60 or 1440")
    return FhirTemplate(
        type_name=_type_name(members),
        codes=codes,
        categories=_objects(members.get("category")),
        value=_fhir_value(value) if isinstance(value, dict) else None,
        components=[
            FhirComponent(_objects(each.get("codes")), _fhir_value(each.get("value")))
            for each in _objects(members.get("components"))
        ],
        interval=interval,
    )


def _fhir_value(members: Any) -> FhirValue:
    if not isinstance(members, dict):
        raise _Unreadable("each component must have a value")
    kind = str(members.get("valuetype") or "").lower()
    if kind not in {"quantity", "sampleddata", "string", "codeableconcept"}:
        raise _Unreadable("valueType must be Quantity, SampledData, String or CodeableConcept")
    name = members.get("valuename")
    if not isinstance(name, str) or not name:
        raise _Unreadable("each value must have a valueName")
    return FhirValue(kind, name, members)


def _plain_json(text: str) -> str:
    """Without comments, and commas before the end of a list or object."""
    without = _COMMENTS.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    return _LAST_COMMAS.sub(lambda found: found["text"] or "", without)


def _small_names(value: Any) -> Any:
    """With the names of members in small letters."""
    if isinstance(value, dict):
        return {name.lower(): _small_names(each) for name, each in value.items()}
    return [_small_names(each) for each in value] if isinstance(value, list) else value


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
