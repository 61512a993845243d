"""The values of one change that triggers and filters read, each extracted once for all topics."""

from broker.matching.keys import ExtractedKeys
from broker.matching.predicates import Unit
from broker.matching.readers import NO_EXTREMES, NO_KEYS, ExtractedExtremes, Reader
from broker.matching.states import RelatedStates, State, state_of
from broker.matching.verdicts import FilterEvaluation
from broker.model.change import Version
from broker.model.release import Release
from broker.model.search import Filter


class ChangeEvaluation:
    """One change. `state` is the state that filters apply to (R-069), `release` is its release.

    `evaluations` caches the evaluation of each filter, by filter and code of the parameter that it means.
    """

    __slots__ = (
        "_before",
        "_extremes",
        "_keys",
        "_previous",
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
        before: Version | None,
        related: RelatedStates,
    ) -> None:
        self.release = release
        self.resource_type = resource_type
        self.state = state
        self.related = related
        self.evaluations: dict[tuple[Filter, str], FilterEvaluation] = {}
        self._before = before
        self._previous: State = None
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

    def previous_state(self) -> State:
        """The state before the change, decoded at the first call.

        Raises msgspec.DecodeError for a body that is not a JSON object.
        """
        if self._previous is None and self._before is not None:
            self._previous = state_of(self._before)
        return self._previous
