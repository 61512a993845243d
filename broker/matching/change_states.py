"""The states before and after a change, and the states of related resources, in the release of the reader."""

from typing import Any, NamedTuple

from broker.matching.release_views import state_in
from broker.matching.states import Related, State, Target, state_of
from broker.model.change import Change, Interaction
from broker.model.release import Release


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
        """Raises msgspec.DecodeError for a body that is not a JSON object."""
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

    @property
    def release(self) -> Release:
        """The release in which the resource is, or was before its deletion."""
        return self.previous_release if self.current is None else self.current_release

    def seen_in(self, release: Release) -> "ChangeStates":
        """Both states in that release, as far as they convert."""
        if self.previous_release is release and self.current_release is release:
            return self
        previous_release, previous = state_in(
            self.previous, self.resource_type, self.previous_release, release
        )
        current_release, current = state_in(self.current, self.resource_type, self.current_release, release)
        return self._replace(
            previous=previous,
            current=current,
            previous_release=release if previous is None else previous_release,
            current_release=release if current is None else current_release,
        )


class RelatedStates:
    """The states of related resources, each decoded at most once, when a filter needs it.

    They are seen in `release`, as far as they convert; None: each in its own release.
    """

    def __init__(self, related: Related, release: Release | None = None) -> None:
        self._related = related
        self._release = release
        self._states: dict[Target, tuple[Release, State]] = {}

    def find(self, target: Target) -> tuple[dict[str, Any], Release] | None:
        """None for a resource that is not stored or was deleted."""
        version = self._related.get(target)
        if version is None:
            return None
        if target not in self._states:
            state = state_of(version)
            wanted = self._release or version.release
            self._states[target] = state_in(state, target[0], version.release, wanted)
        release, state = self._states[target]
        return None if state is None else (state, release)
