"""The states of resources: their JSON, with exact decimals.

A state is decoded once by whoever evaluates a change, and passed on. No state is kept in a shared cache, and
nobody modifies one.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from broker.model.change import Change, Interaction, Version
from broker.model.json_text import LARGE_BYTES, decode_in_pieces

State = dict[str, Any] | None
"""A resource. None before it was created, after it was deleted, or if it is no longer stored."""

Target = tuple[str, str]
"""Type and id of a resource that another resource refers to."""

Related = Mapping[Target, Version]
"""The current versions of targets, as far as they are stored."""

NOTHING_RELATED: Related = MappingProxyType({})
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def state_of(version: Version | None) -> State:
    """Raises msgspec.DecodeError for a text that is not a JSON object."""
    if version is None or version.resource is None:
        return None
    text = version.resource.text
    return _decoder.decode(text) if len(text) < LARGE_BYTES else decode_in_pieces(text)


def is_large(change: Change) -> bool:
    """Whether decoding and evaluating a version of the change takes so long that a thread should do it."""
    return any(
        version is not None and version.resource is not None and len(version.resource.text) >= LARGE_BYTES
        for version in (change.current, change.previous)
    )


def filtered_version(change: Change) -> Version | None:
    """The version that filters apply to: the current one, or after a deletion the one before it (R-069).

    None if that version is no longer stored.
    """
    if change.interaction is Interaction.DELETE and not change.events:
        return change.previous
    return change.current
