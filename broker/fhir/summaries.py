"""Parts of a resource: what `_summary` and `_elements` leave of it, tagged as incomplete.

Which elements belong to a summary and which are mandatory is read from the models of fhir.resources; R4 takes those of R4B, the
same for every type that is searched here. What is kept is spelt as it was.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

import orjson
from fhir.resources import get_fhir_model_class as find_r5
from fhir.resources.R4B import get_fhir_model_class as find_r4b
from pydantic import BaseModel

from broker.fhir import documents
from broker.model.release import Release

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules", "modifierExtension"})


@dataclass(frozen=True, slots=True)
class View:
    """How much of each resource is asked for: all of it, a kind of summary, or the elements named."""

    summary: Literal["false", "true", "text", "data"] = "false"
    elements: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        return self.summary == "false" and not self.elements


@dataclass(frozen=True, slots=True)
class _Shape:
    known: frozenset[str]
    summary: frozenset[str]
    mandatory: frozenset[str]


def known_elements(release: Release, resource_type: str) -> Collection[str]:
    """The top-level elements that `_elements` may name."""
    shape = _shape(release, resource_type)
    return shape.known if shape else frozenset()


def shown(release: Release, body: bytes, view: View) -> bytes:
    """The resource as the view has it, with the tag SUBSETTED if the view isn't whole."""
    if view.is_whole:
        return body
    parts = documents.members(body)
    kind = documents.resource_type(body)
    kept = {
        name: raw for name, raw in parts.items() if _is_kept(_shape(release, kind), name.lstrip("_"), view)
    }
    if view.summary == "true":
        kept = {name: _summarised(release, kind, name, raw) for name, raw in kept.items()}
    meta: dict[str, Any] = orjson.loads(parts.get("meta", b"{}"))
    meta["tag"] = [*meta.get("tag", []), SUBSETTED]
    head = {"resourceType": parts["resourceType"]} | ({"id": parts["id"]} if "id" in parts else {})
    return documents.join(
        head | {"meta": orjson.dumps(meta)} | {n: r for n, r in kept.items() if n != "meta"}
    )


def _is_kept(shape: _Shape | None, name: str, view: View) -> bool:
    if name in _ALWAYS or shape is None:
        return True
    if view.elements:
        return name in view.elements or name in shape.mandatory
    match view.summary:
        case "true":
            return name in shape.summary or name in shape.mandatory
        case "text":
            return name == "text" or name in shape.mandatory
        case _:
            return name != "text"


def _summarised(release: Release, kind: str, name: str, raw: bytes) -> bytes:
    """A backbone element with its own summary elements only."""
    inner = f"{kind}{name[:1].upper()}{name[1:]}"
    shape = _shape(release, inner)
    if shape is None:
        return raw
    kept = shape.summary | shape.mandatory | _ALWAYS

    def cut(one: bytes) -> bytes:
        parts = documents.members(one)
        return documents.join(
            {
                part: _summarised(release, inner, part, value)
                for part, value in parts.items()
                if part.lstrip("_") in kept
            }
        )

    if raw.lstrip().startswith(b"["):
        return b"[" + b",".join(cut(one) for one in documents.items(raw)) + b"]"
    return cut(raw) if raw.lstrip().startswith(b"{") else raw


@cache
def _shape(release: Release, name: str) -> _Shape | None:
    find = cast("Callable[[str], type[BaseModel]]", find_r5 if release is Release.R5 else find_r4b)
    try:
        model: Any = find(name)
    except (ValueError, KeyError):
        return None
    mandatory = {
        str(field.alias)
        for field in model.model_fields.values()
        if field.is_required() or (field.json_schema_extra or {}).get("element_required")
    }
    return _Shape(
        frozenset(model.elements_sequence()),
        frozenset(model.summary_elements_sequence()),
        frozenset(mandatory),
    )
