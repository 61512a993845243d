"""Summaries of a resource: the elements that `_summary` and `_elements` leave, with the tag SUBSETTED.

The tables of elements say which belong to a summary and which are mandatory; named elements come with the
mandatory and the modifier elements. The few types that only R4 has are returned whole. Elements keep their
spelling. Searches and reads of the HTTP API, and notifications, use it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Literal

from broker.fhir.element_tables import table_of_type
from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules", "modifierExtension"})
_MODIFIERS = frozenset(
    {
        *("active", "status", "doNotPerform", "deceasedBoolean", "deceasedDateTime"),
        *("clinicalStatus", "verificationStatus", "isSubpotent"),
    }
)
"""Elements without which the others mean something else, such as a medication that must not be given."""
_MODIFIERS_OF = {"Patient": frozenset({"link"}), "Group": frozenset({"membership"})}


@dataclass(frozen=True, slots=True)
class SummaryView:
    """How much of each resource a client asks for: all of it, a summary, or the named elements."""

    summary: Literal["false", "true", "text", "data"] = "false"
    elements: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        return self.summary == "false" and not self.elements


@dataclass(frozen=True, slots=True)
class _TypeElements:
    """The elements of a type."""

    all: frozenset[str]
    summary: frozenset[str]
    mandatory: frozenset[str]
    modifiers: frozenset[str]


def known_elements(release: Release, resource_type: str) -> Collection[str]:
    """The top-level elements that `_elements` may name."""
    elements = _type_elements(release, resource_type)
    return elements.all if elements else frozenset()


def summarize(release: Release, resource: Resource, view: SummaryView) -> Resource:
    """The elements of the resource that the view asks for, with the tag SUBSETTED unless it asks for all."""
    if view.is_whole:
        return resource
    members, resource_type = resource.members, resource.type
    elements = _type_elements(release, resource_type)
    if elements is None:  # more than is asked for is allowed, less is not
        return resource
    kept = {name: text for name, text in members.items() if _is_kept(elements, name.lstrip("_"), view)}
    if view.elements and "contained" in kept:
        _keep_referred(kept)
    if view.summary == "true":
        kept = {name: _summarize(release, resource_type, name, text) for name, text in kept.items()}
    first: dict[str, bytes] = {name: members[name] for name in ("resourceType", "id") if name in members}
    first["meta"] = _tagged(members.get("meta", b"{}"))
    kept.pop("meta", None)
    return Resource(json_text.join(first | kept))


def _tagged(meta: bytes) -> bytes:
    """The meta with the tag SUBSETTED, once."""
    members = json_text.members(meta)
    tags = json_text.items(members.get("tag", b"[]"))
    if not any(SUBSETTED.items() <= json_text.decode_object(tag).items() for tag in tags):
        tags.append(json_text.encode(SUBSETTED))
    return json_text.join(members | {"tag": b"[" + b",".join(tags) + b"]"})


def _keep_referred(members: dict[str, bytes]) -> None:
    """Leaves of the contained resources those that the other members refer to, directly or through them."""
    waiting = json_text.items(members.pop("contained"))
    texts = b"".join(members.values())
    kept: list[bytes] = []
    while referred := [text for text in waiting if _reference_to(text) in texts]:
        waiting = [text for text in waiting if text not in referred]
        texts = b"".join(referred)
        kept += referred
    if kept:
        members["contained"] = b"[" + b",".join(kept) + b"]"


def _reference_to(contained: bytes) -> bytes:
    return f'"#{json_text.decode_object(contained).get("id")}"'.encode()


def _is_kept(elements: _TypeElements, name: str, view: SummaryView) -> bool:
    if name in _ALWAYS:
        return True
    if view.elements:
        return name in view.elements | elements.mandatory | elements.modifiers
    match view.summary:
        case "true":
            return name in elements.summary or name in elements.mandatory
        case "text":
            return name == "text" or name in elements.mandatory
        case _:
            return name != "text"


def _summarize(release: Release, parent: str, name: str, text: bytes) -> bytes:
    """The summary elements of a backbone element; other elements as they are."""
    type_name = f"{parent}{name[:1].upper()}{name[1:]}"
    elements = _type_elements(release, type_name)
    if elements is None:
        return text
    kept = elements.summary | elements.mandatory | _ALWAYS

    def summary(item: bytes) -> bytes:
        return json_text.join(
            {
                member: _summarize(release, type_name, member, value)
                for member, value in json_text.members(item).items()
                if member.lstrip("_") in kept
            }
        )

    if text.lstrip().startswith(b"["):
        return b"[" + b",".join(summary(item) for item in json_text.items(text)) + b"]"
    return summary(text) if text.lstrip().startswith(b"{") else text


@cache
def _type_elements(release: Release, name: str) -> _TypeElements | None:
    try:
        table = table_of_type(release, name)
    except KeyError:
        return None
    choices = (
        element.name for element in table.elements.values() if element.choice in table.required_choices
    )
    return _TypeElements(
        frozenset(table.elements),
        frozenset(element.name for element in table.elements.values() if element.is_summary),
        frozenset([*table.required, *choices]),
        _MODIFIERS | _MODIFIERS_OF.get(name, frozenset()),
    )
