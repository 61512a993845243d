"""The type and the id of a resource, checked against what a request names.

Called by the HTTP API and the decoders of intake.
"""

import re

from broker.errors import Issue, Malformed, Unprocessable
from broker.model.resource import Resource

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_QUOTED = 80
"""How many characters of a wrong value an error text repeats."""


def check_type(resource: Resource, expected: str) -> None:
    """Raises `Unprocessable` unless the resource is of the expected type, `Malformed` if it is not a resource
    at all.
    """
    actual = resource.type
    if not actual:
        raise Unprocessable(Issue("required", "resourceType is missing", "resourceType"))
    if actual != expected:
        text = f"resourceType is {actual[:_QUOTED]!r}, expected {expected!r}"
        raise Unprocessable(Issue("invalid", text, "resourceType"))


def check_id(resource_id: str) -> None:
    """Raises `Malformed` unless it is a FHIR id."""
    if not _ID.fullmatch(resource_id):
        text = f"{resource_id[:_QUOTED]!r} is not an id: 1 to 64 letters, digits, - and . are allowed"
        raise Malformed(Issue("value", text, "Resource.id"))
