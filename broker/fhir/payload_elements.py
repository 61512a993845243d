"""The elements to which a subscriber limits the resources in its notifications.

An extension at the root of the Subscription, in every release, names one element each, as in
`Observation.valueQuantity`; it repeats. Of a type with such names, notifications carry the named elements and
the mandatory ones, with the tag SUBSETTED. Resources of other types are sent whole.
"""

from collections.abc import Sequence

from broker.fhir.element_reader import ElementReader
from broker.fhir.summaries import SummaryView, known_elements, summarize
from broker.model.release import Release
from broker.model.resource import Resource

PAYLOAD_ELEMENT = "http://fhir-broker.org/fhir/StructureDefinition/payload-element"


def read_elements(root: ElementReader, release: Release) -> tuple[str, ...]:
    """The elements that a Subscription names, each once. One that the type lacks in the release is refused:
    a misspelled name would leave out what the subscriber needs.
    """
    names: dict[str, None] = {}
    for extension in root.objects("extension"):
        if extension.fields.get("url") != PAYLOAD_ELEMENT:
            continue
        name = extension.string("valueString", required=True) or ""
        resource_type, _, element = name.partition(".")
        if name and element not in known_elements(release, resource_type):
            text = f"{name!r} is no element of a resource in {release.upper()}; name one as Observation.code"
            extension.refuse("value", text, "value")
        names[name] = None
    return tuple(names)


def limited(resource: Resource, release: Release, elements: Sequence[str]) -> Resource:
    """The resource with the named elements of its type; whole, if none is named."""
    prefix = f"{resource.type}."
    named = frozenset(name.removeprefix(prefix) for name in elements if name.startswith(prefix))
    return summarize(release, resource, SummaryView(elements=named)) if named else resource
