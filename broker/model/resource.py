"""A FHIR resource: its JSON text, and its fields, which are read from the text when they are first needed.

A `Resource` never changes. The text is what is stored, sent and spliced into Bundles, so numbers keep their
spelling; the fields are read-only at every depth, so all holders of a resource may share them. It travels
from the HTTP API and the inbox through intake and the store to matching and delivery.

`UnversionedResource.with_version` is the only writer of `meta.versionId` and `meta.lastUpdated`.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from broker.clock import to_instant
from broker.errors import Issue, Malformed
from broker.model import json_text

_SERVER_MEMBERS = frozenset({"versionId", "lastUpdated", "_versionId", "_lastUpdated"})
_LEADING_MEMBERS = frozenset({"resourceType", "id", "meta"})
_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonObject(Mapping[str, Any]):
    """A read-only view of a JSON object. Objects in it are views too, arrays are tuples."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return _view(self._values[name])

    def get(self, name: str, default: Any = None) -> Any:
        value = self._values.get(name, default)
        return _view(value) if value.__class__ in _CONTAINERS else value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, Any]:
        """In one step, because the view of `Mapping` looks each value up again."""
        return {name: _view(value) for name, value in self._values.items()}.items()

    def __repr__(self) -> str:
        return f"JsonObject({self._values!r})"


_CONTAINERS: frozenset[type] = frozenset({dict, list})


def _view(value: Any) -> Any:
    if value.__class__ is dict:
        return JsonObject(value)
    if value.__class__ is list:
        return tuple([_view(item) for item in value])
    return value


class Resource:
    """One resource.

    Construction reads nothing; `fields` and what relies on it raise `Malformed` for a text that is not a
    JSON object. A text from outside is decoded by `json_text.decode_received`, which checks more.
    """

    __slots__ = ("_decode", "_fields", "_text")

    def __init__(
        self, text: bytes, decode: Callable[[bytes], dict[str, Any]] = json_text.decode_object
    ) -> None:
        self._text = text
        self._decode = decode
        self._fields: JsonObject | None = None

    @classmethod
    def of_values(cls, values: dict[str, Any]) -> "Resource":
        """The resource of these members, which nobody changes any more: objects are `dict`, arrays `list`,
        numbers `int` or `Decimal`. Its fields need no reading of the text.
        """
        resource = cls(json_text.encode(values))
        resource._fields = JsonObject(values)
        return resource

    @property
    def text(self) -> bytes:
        """The JSON text in UTF-8."""
        return self._text

    @property
    def fields(self) -> JsonObject:
        """The members as read-only values; numbers are `int` or exact `Decimal`."""
        if self._fields is None:
            self._fields = JsonObject(self._decode(self._text))
        return self._fields

    @property
    def members(self) -> dict[str, bytes]:
        """A new dictionary of the members as they are spelled, in their order."""
        if self._fields is None:
            self._decode(self._text)  # raises for a text that is not a JSON object
        return json_text.members(self._text)

    @property
    def type(self) -> str:
        """The `resourceType`, '' when absent."""
        return self._string("resourceType", "resourceType")

    @property
    def id(self) -> str:
        """The `id`, '' when absent."""
        return self._string("id", "Resource.id")

    def copy(self) -> dict[str, Any]:
        """The members as plain values that belong to the caller; each call reads the text again."""
        return self._decode(self._text)

    def without_version(self, *, type: str, id: str) -> "UnversionedResource":
        """The resource without `versionId` and `lastUpdated`, under the type and id given.

        `resourceType`, `id` and `meta` come first, all other members after them, untouched and in their
        order. Raises `Malformed` if meta is not an object.
        """
        meta = self.fields.get("meta")
        if meta is not None and not isinstance(meta, JsonObject):
            raise Malformed(Issue("structure", "meta must be an object", f"{type}.meta"))
        return UnversionedResource.of_members(type, id, _RAW_MEMBERS.decode(self._text), has_meta=bool(meta))

    def _string(self, name: str, element: str) -> str:
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Malformed(Issue("structure", f"{name} must be a string", element))
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resource) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Resource({self._text!r})"


class UnversionedResource(NamedTuple):
    """A resource without `versionId` and `lastUpdated`.

    `tail` is its text behind the place of those two, which come first in its meta; type and id determine the
    text before it.
    """

    type: str
    id: str
    tail: bytes

    @classmethod
    def of_members(
        cls, type: str, id: str, members: Mapping[str, bytes | msgspec.Raw], *, has_meta: bool
    ) -> "UnversionedResource":
        """The resource of the members of a checked text, as they are spelled. `has_meta`: its meta is an
        object with members.
        """
        tail: list[bytes | msgspec.Raw] = []
        if has_meta:
            for name, raw in _RAW_MEMBERS.decode(members["meta"]).items():
                if name not in _SERVER_MEMBERS:
                    tail += (json_text.label(name), raw)
        tail.append(b"}")
        for name, value in members.items():
            if name not in _LEADING_MEMBERS:
                tail += (json_text.label(name), value)
        tail.append(b"}")
        return cls(type, id, b"".join(tail))

    def with_version(self, version: int, at_ms: int) -> Resource:
        """The resource as version `version`, written at `at_ms`."""
        head = (
            f'{{"resourceType":"{self.type}","id":"{self.id}","meta":'
            f'{{"versionId":"{version}","lastUpdated":"{to_instant(at_ms)}"'
        )
        return Resource(head.encode() + self.tail)
