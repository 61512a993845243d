"""Validates resources: their structure, and the codes and rules that the broker relies on.

`structure.py` is the authority on structure; `fast_validation.py` spares most resources its cost. The few
types of R4 whose elements are not known (`UNMODELLED`) get only the checks that need no table.

Intake calls `StructureValidator`; other callers use `validate`.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from broker.errors import Issue, Unprocessable
from broker.fhir.element_tables import table_of_type
from broker.fhir.fast_validation import fast_decoder, is_certainly_valid
from broker.fhir.narrative import find_narrative_problem
from broker.fhir.required_codes import REQUIRED_CODES
from broker.fhir.resource_types import RESOURCE_TYPES, UNMODELLED
from broker.fhir.structure import find_structure_issues
from broker.model.release import Release
from broker.model.resource import JsonObject, Resource

MAX_ISSUES = 100
"""The issues that are reported of one resource; more would help nobody."""
_EMPTY_OR_CONTROL = re.compile(rb"[{\[]\s*[}\]]|\\u00|null")
"""Occurs in the text of every resource that has an empty element, null or a control character, and in few
others.
"""
_MAX_FAST_BYTES = 1_000_000
"""Longer texts may have strings that are longer than FHIR allows."""

_COMMON_DATATYPES = (
    *("Address", "Annotation", "CodeableConcept", "Coding", "ContactPoint", "Extension", "HumanName"),
    *("Identifier", "Meta", "Narrative", "Period", "Quantity", "Range", "Reference", "SampledData"),
)


class StructureValidator:
    """The validator of intake (`ingest.validator.Validator`): everything it finds is an error, whoever
    sends the resource.
    """

    def validate(
        self, release: Release, resource_type: str, resource: Resource, producer: str = ""
    ) -> tuple[Issue, ...]:
        del producer
        return find_issues(release, resource_type, resource)


def validate(release: Release, resource_type: str, resource: Resource) -> None:
    """Raises `Unprocessable` with one issue per error, `Malformed` if the text is not a JSON object."""
    issues = find_issues(release, resource_type, resource)
    if issues:
        raise Unprocessable(*issues)


def find_issues(release: Release, resource_type: str, resource: Resource) -> tuple[Issue, ...]:
    """One issue per error, at most `MAX_ISSUES`; none if the resource is valid.

    Raises `Malformed` if the text is not a JSON object.
    """
    issues = tuple(_basic_issues(release, resource_type, resource))
    if issues or _is_valid_at_once(release, resource_type, resource):
        return issues
    return tuple(islice(find_structure_issues(release, resource_type, resource.fields), MAX_ISSUES))


def prepare(release: Release, types: Iterable[str]) -> None:
    """Loads the tables and decoders of the types, so that the first request of each does not wait for it."""
    for name in (*_COMMON_DATATYPES, *types):
        if not (release is Release.R4 and name in UNMODELLED):
            table_of_type(release, name)
            if name in RESOURCE_TYPES[release]:
                fast_decoder(release, name)


def _basic_issues(release: Release, resource_type: str, resource: Resource) -> Iterator[Issue]:
    """The type, the codes that the broker relies on, and obs-6."""
    fields = resource.fields
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


def _is_valid_at_once(release: Release, resource_type: str, resource: Resource) -> bool:
    """Whether the fast way finds the resource valid. It does not read the narrative."""
    text = resource.text
    if release is Release.R4 and resource_type in UNMODELLED:
        return False
    if len(text) > _MAX_FAST_BYTES or _EMPTY_OR_CONTROL.search(text):
        return False
    if not is_certainly_valid(release, resource_type, text):
        return False
    narrative = resource.fields.get("text")
    return not isinstance(narrative, JsonObject) or find_narrative_problem(narrative["div"]) is None
