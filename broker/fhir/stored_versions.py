"""A stored version as a FHIR base gives it: its resource in the release of the base, or why there is none."""

from broker.errors import Gone, Issue, NotAcceptable
from broker.fhir.conversion import convert
from broker.model.change import Version
from broker.model.release import Release
from broker.model.resource import Resource


def resource_in(version: Version, release: Release) -> Resource:
    """Raises `Gone` for a deletion, `NotAcceptable` where no conversion exists."""
    name = version.key.reference
    if version.resource is None:
        raise Gone(Issue("deleted", f"{name} was deleted. Read an earlier version, or create it again."))
    resource = convert(version.resource, version.key.type, version.release, release)
    if resource is None:
        text = (
            f"{name} was written as {version.release}, and no conversion to {release} exists. "
            f"Read it at /{version.release}."
        )
        raise NotAcceptable(Issue("not-supported", text))
    return resource
