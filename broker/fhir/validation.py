"""Validates resources: structure, required elements, and the codes that the broker relies on.

fhir.resources is the authority on structure; `fast_validation.py` spares most resources its cost. It has
classes for R5 and R4B: R4 uses those of R4B, and the few types that differ there get the basic checks only.
What the library accepts and the rest of the broker can't use is checked here: JSON types (a number in quotes
is not a number), nulls, empty elements, required codes.

Intake calls `StructureValidator`; other callers use `validate`.
"""

import re
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.fast_validation import fast_decoder, is_certainly_valid
from broker.fhir.json_types import find_wrong_json_types
from broker.fhir.models import model_class
from broker.fhir.required_codes import REQUIRED_CODES
from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.model.release import Release
from broker.model.resource import JsonObject, Resource

_NESTED = (".resource", ".outcome")
_EMPTY = re.compile(rb"[{\[]\s*[}\]]")
"""Occurs in the text of every resource that holds an empty element, and in few others."""

_COMMON_DATATYPES = (
    *("Address", "Annotation", "CodeableConcept", "Coding", "ContactPoint", "Extension", "HumanName"),
    *("Identifier", "Meta", "Narrative", "Period", "Quantity", "Range", "Reference", "SampledData"),
)
_STRUCTURE_ERRORS = frozenset(
    {"extra_forbidden", "list_type", "dict_type", "model_type", "model_validation_format"}
)


class StructureValidator:
    """The validator of intake (`ingest.validator.Validator`): everything it finds is an error."""

    def validate(self, release: Release, resource_type: str, resource: Resource) -> tuple[Issue, ...]:
        return find_issues(release, resource_type, resource)


def validate(release: Release, resource_type: str, resource: Resource) -> None:
    """Raises `Unprocessable` with one issue per error, `Malformed` if the text is not a JSON object."""
    issues = find_issues(release, resource_type, resource)
    if issues:
        raise Unprocessable(*issues)


def find_issues(release: Release, resource_type: str, resource: Resource) -> tuple[Issue, ...]:
    """One issue per error; none if the resource is valid.

    Raises `Malformed` if the text is not a JSON object.
    """
    issues = tuple(_basic_issues(release, resource_type, resource))
    if issues or (release is Release.R4 and resource_type in UNMODELLED):
        return issues
    return tuple(_structure_issues(release, resource_type, resource))


def prepare(release: Release, types: Iterable[str]) -> None:
    """Loads the classes and decoders of the types, so that the first request of each does not wait for it."""
    for name in (*_COMMON_DATATYPES, *types):
        if not (release is Release.R4 and name in UNMODELLED):
            model = model_class(release, name)
            if name in RESOURCE_TYPES[release]:
                fast_decoder(model)


def _basic_issues(release: Release, resource_type: str, resource: Resource) -> Iterator[Issue]:
    """The checks for every type.

    Searches of the text show at once that most resources have nothing empty and nothing inside.
    """
    fields, text = resource.fields, resource.text
    if resource_type not in RESOURCE_TYPES[release]:
        yield Issue("not-supported", f"{resource_type!r} is not a resource type of {release}", "resourceType")
        return
    actual_type = fields.get("resourceType")
    if not actual_type:
        yield Issue("required", "resourceType is missing", "resourceType")
        return
    if actual_type != resource_type:
        message = f"resourceType is {actual_type!r}, expected {resource_type!r}"
        yield Issue("invalid", message, "resourceType")
        return
    if b"null" in text or _EMPTY.search(text):
        yield from find_empty_elements(fields, resource_type)
    if b"\\" in text or b'"contained"' in text or text.count(b'"resourceType"') > 1:
        for path, inner in _resources_inside(fields, resource_type):
            yield from _wrong_type(release, inner, path)
    yield from _code_issues(release, resource_type, fields)
    if resource_type == "Observation" and "dataAbsentReason" in fields:
        values = [name for name in fields if name.startswith("value")]
        if values:
            message = f"dataAbsentReason stands for a missing value, but {values[0]} is present (obs-6)"
            yield Issue("invalid", message, "Observation.dataAbsentReason")


def _code_issues(release: Release, resource_type: str, fields: JsonObject) -> Iterator[Issue]:
    for element, codes in REQUIRED_CODES[release].get(resource_type, {}).items():
        code = fields.get(element)
        if isinstance(code, str) and code not in codes:
            message = f"{code!r} is not a {element} of {release}; use one of {', '.join(sorted(codes))}"
            yield Issue("value", message, f"{resource_type}.{element}")


def find_empty_elements(value: object, path: str) -> Iterator[Issue]:
    """Elements without content: FHIR has no empty elements, and null only as a placeholder in arrays."""
    for child_path, child in _children(value, path):
        if isinstance(child, JsonObject | tuple):
            if child:
                yield from find_empty_elements(child, child_path)
            else:
                yield Issue("structure", "an element may not be empty: leave it out", child_path)
        elif child is None and isinstance(value, JsonObject):
            yield Issue("structure", "null is not a value: leave the element out", child_path)


def _resources_inside(value: object, path: str) -> Iterator[tuple[str, JsonObject]]:
    """The resources inside a resource: contained ones, Bundle entries, Parameters."""
    for child_path, child in _children(value, path):
        if isinstance(child, JsonObject):
            is_contained = isinstance(value, tuple) and path.endswith(".contained")
            if is_contained or ("resourceType" in child and child_path.endswith(_NESTED)):
                yield child_path, child
        if isinstance(child, JsonObject | tuple):
            yield from _resources_inside(child, child_path)


def _children(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, JsonObject):
        for name, child in value.items():
            yield f"{path}.{name}", child
    elif isinstance(value, tuple):
        for n, child in enumerate(value):
            yield f"{path}[{n}]", child


def _wrong_type(release: Release, resource: JsonObject, path: str) -> Iterator[Issue]:
    """The issue of a resource inside another whose type the release does not have."""
    resource_type = resource.get("resourceType")
    if resource_type is None:
        yield Issue("required", "a contained resource needs its resourceType", f"{path}.resourceType")
    elif not isinstance(resource_type, str) or resource_type not in RESOURCE_TYPES[release]:
        message = f"{resource_type!r} is not a resource type of {release}"
        yield Issue("structure", message, f"{path}.resourceType")


def _structure_issues(release: Release, resource_type: str, resource: Resource) -> Iterator[Issue]:
    model = model_class(release, resource_type)
    if is_certainly_valid(model, resource.text):
        return
    try:
        instance = model.model_validate_json(resource.text)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            yield _issue(resource_type, detail["type"], detail["loc"], detail["msg"])
    except KeyError:
        # The library looks a contained type up in the classes of its release. `_basic_issues` made sure that
        # the release has the type, so it is one of UNMODELLED inside another type, whose structure can't be
        # checked.
        return
    except RecursionError:
        raise Malformed(Issue("structure", "the resource nests too deep to be checked")) from None
    else:
        yield from find_wrong_json_types(instance, resource.fields, resource_type)


def _issue(resource_type: str, error_type: str, location: tuple[int | str, ...], message: str) -> Issue:
    """An error of pydantic as an issue."""
    path = resource_type
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "root":
            path += f".{step.removesuffix('_fhir')}"
    text = " ".join(message.removeprefix("Value error, ").split())
    if error_type == "missing" or error_type.endswith(".missing"):
        return Issue("required", f"{path} is required", path)
    if error_type == "extra_forbidden":
        return Issue("structure", f"{path} is not an element of this type", path)
    if error_type in _STRUCTURE_ERRORS:
        return Issue("structure", f"{path}: {text}", path)
    return Issue("value" if location else "invalid", f"{path}: {text}", path)
