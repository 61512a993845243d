"""The values of one change that triggers and filters read, each extracted once for all topics."""

from broker.matching.change_states import ChangeStates, RelatedStates
from broker.matching.keys import ExtractedKeys
from broker.matching.predicates import Unit
from broker.matching.readers import NO_EXTREMES, NO_KEYS, ExtractedExtremes, Reader
from broker.matching.release_views import state_in
from broker.matching.states import Related, State, state_of
from broker.matching.verdicts import FilterEvaluation
from broker.model.change import Change, Interaction
from broker.model.release import Release
from broker.model.search import Filter


class ChangeEvaluation:
    """One change, as one release shows it: `state` is the state that filters apply to (R-069), `release` is
    its release.

    `evaluations` caches the evaluation of each filter, by filter and code of the parameter that it means.
    """

    __slots__ = (
        "_extremes",
        "_keys",
        "evaluations",
        "related",
        "release",
        "resource_type",
        "state",
    )

    def __init__(
        self,
        release: Release,
        resource_type: str,
        state: State,
        related: RelatedStates,
    ) -> None:
        self.release = release
        self.resource_type = resource_type
        self.state = state
        self.related = related
        self.evaluations: dict[tuple[Filter, str], FilterEvaluation] = {}
        self._keys: dict[Reader, ExtractedKeys] = {}
        self._extremes: dict[tuple[Reader, Unit], ExtractedExtremes] = {}

    def keys(self, reader: Reader | None) -> ExtractedKeys:
        """No keys without a reader, or without a state."""
        if reader is None or self.state is None:
            return NO_KEYS
        keys = self._keys.get(reader)
        if keys is None:
            keys = self._keys[reader] = reader.read_keys(self.state, self.related)
        return keys

    def extremes(self, reader: Reader | None, unit: Unit) -> ExtractedExtremes:
        """No extremes without a reader, or without a state."""
        if reader is None or self.state is None:
            return NO_EXTREMES
        key = reader, unit
        extremes = self._extremes.get(key)
        if extremes is None:
            extremes = self._extremes[key] = reader.read_extremes(self.state, unit)
        return extremes


class ChangeViews:
    """One change in the releases of its readers: each is converted at most once, when it is first read.

    `release` and `state` are what filters apply to, as the change came in.
    """

    __slots__ = ("_change", "_previous", "_related", "_states", "_views", "release", "state")

    def __init__(self, change: Change, release: Release, state: State, related: Related) -> None:
        self.release = release
        self.state = state
        self._change = change
        self._related = related
        self._views: dict[Release, ChangeEvaluation] = {}
        self._states: dict[tuple[Release, bool], ChangeStates] = {}
        self._previous: State = None

    def view(self, release: Release) -> ChangeEvaluation:
        """The change as a reader of that release sees it; in its own release if it does not convert."""
        view = self._views.get(release)
        if view is None:
            resource_type = self._change.current.key.type
            seen, state = state_in(self.state, resource_type, self.release, release)
            view = ChangeEvaluation(seen, resource_type, state, RelatedStates(self._related, release))
            self._views[release] = view
        return view

    def states(self, release: Release, *, with_previous: bool) -> ChangeStates:
        """The states that criteria in that release test. Without the previous state unless it is needed: then
        it is decoded, and msgspec.DecodeError raised for a body that is not a JSON object.
        """
        states = self._states.get((release, with_previous))
        if states is None:
            states = self._own_states(with_previous=with_previous).seen_in(release)
            self._states[release, with_previous] = states
        return states

    def _own_states(self, *, with_previous: bool) -> ChangeStates:
        change, before = self._change, self._change.previous
        if change.interaction is Interaction.DELETE:
            previous, current = self.state, None
        else:
            if with_previous and self._previous is None:
                self._previous = state_of(before)
            previous, current = self._previous if with_previous else None, self.state
        return ChangeStates(
            change.interaction,
            change.current.key.type,
            previous,
            current,
            change.release if before is None else before.release,
            change.release,
        )
