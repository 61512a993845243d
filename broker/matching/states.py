"""The states of resources: their JSON, with exact decimals.

A state is decoded once by whoever evaluates a change, and passed on. No state is kept in a shared cache, and
nobody modifies one.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from broker.model.change import Change, Interaction, Version
from broker.model.release import Release

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
    return _decoder.decode(version.resource.text)


def filtered_version(change: Change) -> Version | None:
    """The version that filters apply to: the current one, or after a deletion the one before it (R-069).

    None if that version is no longer stored.
    """
    if change.interaction is Interaction.DELETE and not change.events:
        return change.previous
    return change.current


class ChangeStates(NamedTuple):
    """The states before and after a change, each with the release by whose parameters it is searched."""

    interaction: Interaction
    resource_type: str
    previous: State
    current: State
    previous_release: Release
    current_release: Release

    @classmethod
    def of(cls, change: Change) -> "ChangeStates":
        """Raises msgspec.DecodeError for a text that is not a JSON object."""
        before = change.previous
        is_deletion = change.interaction is Interaction.DELETE
        return cls(
            interaction=change.interaction,
            resource_type=change.current.key.type,
            previous=state_of(before),
            current=None if is_deletion else state_of(change.current),
            previous_release=change.release if before is None else before.release,
            current_release=change.release,
        )


class RelatedStates:
    """The states of related resources, each decoded at most once, when a filter needs it."""

    def __init__(self, related: Related) -> None:
        self._related = related
        self._states: dict[Target, State] = {}

    def find(self, target: Target) -> tuple[dict[str, Any], Release] | None:
        """None for a resource that is not stored or was deleted."""
        version = self._related.get(target)
        if version is None:
            return None
        if target not in self._states:
            self._states[target] = state_of(version)
        state = self._states[target]
        return None if state is None else (state, version.release)
