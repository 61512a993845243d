"""What a stored version says: its JSON, decimals exact."""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from broker.model.change import Version
from broker.model.release import Release

State = dict[str, Any] | None
"""A resource; None before it existed, after it was deleted, or where it is no longer stored."""

Target = tuple[str, str]
"""Type and id of a resource that the one in question refers to."""

Related = Mapping[Target, Version]
"""The current versions of targets, as far as they are stored."""

NOTHING_RELATED: Related = MappingProxyType({})
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def state_of(version: Version | None) -> State:
    """Raises msgspec.DecodeError for a body that is no JSON object."""
    if version is None or version.body is None:
        return None
    return _decoded(version.body)


@lru_cache(maxsize=8)
def _decoded(body: bytes) -> State:
    """What looks at a change looks at it several times in a row; nobody changes what is shared."""
    return _decoder.decode(body)


class RelatedStates:
    """Related resources, each decoded once and only if something asks for it."""

    def __init__(self, related: Related) -> None:
        self._related = related
        self._states: dict[Target, State] = {}

    def find(self, target: Target) -> tuple[dict[str, Any], Release] | None:
        """None for what isn't stored, or was deleted."""
        version = self._related.get(target)
        if version is None:
            return None
        if target not in self._states:
            self._states[target] = state_of(version)
        state = self._states[target]
        return None if state is None else (state, version.release)
