"""The elements to which notifications limit resources: what a topic allows, and what its subscriber wants.

The extension `PAYLOAD_ELEMENT` names one element each, as in `Observation.valueQuantity`; it repeats. A topic
has it on its notificationShapes, a Subscription at its root. Of a type with names, notifications carry the
named elements and the mandatory ones, with the tag SUBSETTED; where both name elements of a type, those that
both name. Resources of other types are sent whole.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from broker.fhir.element_reader import ElementReader
from broker.fhir.summaries import SummaryView, known_elements, summarize
from broker.model.release import Release
from broker.model.resource import Resource

PAYLOAD_ELEMENT = "http://fhir-broker.org/fhir/StructureDefinition/payload-element"
ElementLimits = Mapping[str, frozenset[str]]
"""By resource type the elements to which it is limited; an empty set: only the mandatory ones."""
_ONLY_MANDATORY = frozenset({"id"})
"""A view without elements is the whole resource; every view has the id."""


def read_elements(root: ElementReader, release: Release) -> tuple[str, ...]:
    """The elements that a Subscription names, each once. One that the type lacks in the release is refused:
    a misspelled name would leave out what the subscriber needs.
    """
    return _read(root, (release,), release.upper())


def read_topic_elements(shape: ElementReader) -> tuple[str, ...]:
    """The elements that a notificationShape names, each once. A topic serves every release, so it names an
    element as each release does; one that no release has is refused.
    """
    return _read(shape, tuple(Release), "any release")


def _read(parent: ElementReader, releases: Sequence[Release], where: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for extension in parent.objects("extension"):
        if extension.fields.get("url") != PAYLOAD_ELEMENT:
            continue
        name = extension.string("valueString", required=True) or ""
        resource_type, _, element = name.partition(".")
        if name and not any(element in known_elements(release, resource_type) for release in releases):
            text = f"{name!r} is no element of a resource in {where}; name one as Observation.code"
            extension.refuse("value", text, "value")
        names[name] = None
    return tuple(names)


@lru_cache(maxsize=1024)
def element_limits(wanted: tuple[str, ...], allowed: tuple[str, ...]) -> ElementLimits:
    """What the subscriber wants of what the topic allows."""
    limits = _by_type(allowed)
    for resource_type, names in _by_type(wanted).items():
        limits[resource_type] = names & limits.get(resource_type, names)
    return limits


def _by_type(elements: Sequence[str]) -> dict[str, frozenset[str]]:
    names: dict[str, frozenset[str]] = {}
    for element in elements:
        resource_type, _, name = element.partition(".")
        names[resource_type] = names.get(resource_type, frozenset()) | {name}
    return names


def limited(resource: Resource, release: Release, limits: ElementLimits) -> Resource:
    """The resource with the elements to which its type is limited; whole, if it is not."""
    names = limits.get(resource.type)
    if names is None:
        return resource
    return summarize(release, resource, SummaryView(elements=names or _ONLY_MANDATORY))
