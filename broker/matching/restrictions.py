"""Whether a resource meets the restrictions of scopes, such as `system/Observation.rs?category=vital-signs`.

Reads through the API use it; whoever hands out resources otherwise does too. It fails closed: a resource on
which a restriction cannot be evaluated does not meet it.
"""

from functools import lru_cache

from broker.matching.context import SearchContext
from broker.matching.filters import Test, compile_filter
from broker.matching.problems import READ_ERRORS, EvaluationFailed
from broker.matching.states import state_of
from broker.matching.values import BadFilter, BadValue
from broker.model.change import Version
from broker.model.release import Release
from broker.model.scopes import Alternatives, Restriction
from broker.model.search import Filter


class Restrictions:
    """Evaluates restrictions with the search parameters of the release in which a resource is stored."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context

    def allow(self, alternatives: Alternatives, version: Version) -> bool:
        """Whether the version meets all restrictions of one alternative (`model.scopes.alternatives`).

        A deletion has no content, so it meets no restriction.
        """
        if () in alternatives:
            return True
        try:
            state = state_of(version)
        except READ_ERRORS:
            return False
        return state is not None and any(
            all(self._meets(restriction, version, state) for restriction in restrictions)
            for restrictions in alternatives
        )

    def _meets(self, restriction: Restriction, version: Version, state: dict[str, object]) -> bool:
        test = _test(self._context, restriction, version.release, version.key.type)
        try:
            return test is not None and test(state)
        except EvaluationFailed:
            return False


@lru_cache(maxsize=1024)
def _test(
    context: SearchContext, restriction: Restriction, release: Release, resource_type: str
) -> Test | None:
    """None where the type has no such parameter in the release, or the value is none of it."""
    name, values = restriction
    parameter = context.parameters.find(release, resource_type, name)
    if parameter is None:
        return None
    text = ",".join(value.replace(",", "\\,") for value in values)
    try:
        return compile_filter(Filter(name, text), parameter, release, context)
    except (BadFilter, BadValue):
        return None
