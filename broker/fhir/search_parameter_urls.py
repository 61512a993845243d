"""The canonical URLs of the SearchParameters that the broker's searches implement.

The CapabilityStatement names them. HL7 defines all of them: core, or the backport guide for Subscriptions at
R4 and R4B. The URL is made of the type and the code, except where one SearchParameter serves many types
(R-387..R-389).
"""

from broker.model.release import Release

_CORE = "http://hl7.org/fhir/SearchParameter/"
_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/SearchParameter/"
_OF_GUIDE = frozenset({"custom-channel", "filter-criteria", "identifier", "payload-type", "topic"})
_OF_ALL_CANONICAL_RESOURCES = frozenset({"date", "name", "status", "title", "url"})


def search_parameter_url(release: Release, resource_type: str, code: str) -> str:
    """The canonical of a search parameter that the type has in the release."""
    if code.startswith("_"):
        return f"{_CORE}Resource-{code.removeprefix('_')}"
    if resource_type == "Subscription" and release is not Release.R5 and code in _OF_GUIDE:
        return f"{_GUIDE}Subscription-{code}"
    if resource_type == "OperationDefinition" and code in _OF_ALL_CANONICAL_RESOURCES:
        return f"{_CORE}{'CanonicalResource' if release is Release.R5 else 'conformance'}-{code}"
    return f"{_CORE}{resource_type}-{code}"
