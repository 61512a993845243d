"""What intake asks of a validator. `app` injects `fhir.validation.StructureValidator`, or, to check profiles
too, `ingest.conformance.ConformanceValidator`.
"""

from collections.abc import Sequence
from typing import Protocol

from broker.errors import Issue
from broker.model.release import Release
from broker.model.resource import Resource

REFUSING_SEVERITIES = frozenset({"fatal", "error"})
"""Issues of other severities (warning, information) accompany the acceptance of the change."""


class Validator(Protocol):
    """Checks a resource before it is accepted."""

    def validate(
        self, release: Release, resource_type: str, resource: Resource, producer: str = ""
    ) -> Sequence[Issue]:
        """The issues of the resource, each with its severity. `producer` is the id of the client that sends
        it, or `fhir:inbox`.

        Raises `Malformed` if its text is not a JSON object.
        """
        ...


class ProfileValidator(Validator, Protocol):
    """Also checks a resource against a profile that a client names."""

    def validate_profile(
        self, release: Release, resource_type: str, resource: Resource, profile: str
    ) -> Sequence[Issue]:
        """The issues of the resource by its type and the profile.

        Raises `Unprocessable` that names a profile which it does not know.
        """
        ...
