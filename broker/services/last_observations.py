"""`$lastn`: the newest Observations of each code, of a patient or another subject.

It reads the matches of a search from the newest on. Where the search names its codes, it ends when it has
enough of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.errors import Issue, Malformed, Unprocessable
from broker.matching.restrictions import Restrictions
from broker.matching.values import split
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.whole_number import whole_number
from broker.services.indexed_types import IndexedTypes
from broker.services.result_parameters import Parameters
from broker.services.search_plan import Order
from broker.services.search_request import StoredSearch, parse_stored_search
from broker.services.snapshot_pages import Direction, SnapshotPageName
from broker.services.stored_search import Criteria, Match, TypeSearch
from broker.store.resources import Resources

OBSERVATION = "Observation"
MAX_OF_CODE = 100
_MAX_READ = 20_000
_STEP = 500
_SUBJECTS = frozenset({"patient", "subject"})
_OF_SEARCHES = frozenset({"_count", "_include", "_page", "_revinclude", "_sort", "_total"})


@dataclass(frozen=True, slots=True)
class LastObservations:
    """The matches, newest first, as of a moment; the search as it was understood."""

    search: StoredSearch
    matches: Sequence[Match]
    moment_ms: int
    warnings: Sequence[Issue]


class CodeGroups:
    """Puts Observations into the groups of their codes, and takes so many of each. Observations with a coding
    in common have one group.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._groups: dict[str, int] = {}
        self._counts: list[int] = []

    def takes(self, observation: Mapping[str, object]) -> bool:
        """Whether the Observation is among the first of its group."""
        keys = _codes(observation)
        group = next((self._groups[key] for key in keys if key in self._groups), None)
        if group is None:
            group = len(self._counts)
            self._counts.append(0)
        for key in keys:
            self._groups.setdefault(key, group)
        if self._counts[group] == self._size:
            return False
        self._counts[group] += 1
        return True

    def are_full(self, codes: Sequence[str]) -> bool:
        """Whether the group of each code, `system|code`, has all that it takes."""
        return all(code in self._groups and self._counts[self._groups[code]] == self._size for code in codes)


def _codes(observation: Mapping[str, object]) -> list[str]:
    code = observation.get("code")
    concept: Mapping[str, object] = code if isinstance(code, Mapping) else {}
    codings = concept.get("coding")
    listed = codings if isinstance(codings, Sequence) else ()
    keys = [
        f"{coding.get('system', '')}|{coding['code']}"
        for coding in listed
        if isinstance(coding, Mapping) and "code" in coding
    ]
    return keys or [f"text {concept.get('text', '')}"]


class LastObservationsService:
    """Reads Observations of the principal's tenant."""

    def __init__(self, types: IndexedTypes, resources: Resources, restrictions: Restrictions) -> None:
        self._types = types
        self._resources = resources
        self._restrictions = restrictions

    async def read(
        self, principal: Principal, release: Release, parameters: Parameters, *, is_strict: bool
    ) -> LastObservations:
        """Raises `Malformed` naming the parameter, `Unprocessable` where too much would have to be read, and
        what `IndexedTypes` raises.
        """
        size = _size([value for name, value in parameters if name == "max"])
        others = [(name, value) for name, value in parameters if name != "max"]
        codes = {name.partition(":")[0] for name, _ in others}
        if refused := sorted(codes & _OF_SEARCHES):
            text = f"$lastn has no parameter {refused[0]}. Leave it out."
            raise Malformed(Issue("not-supported", text, refused[0]))
        if not codes & _SUBJECTS:
            text = "$lastn needs a patient or subject. Send one."
            raise Malformed(Issue("required", text, "patient"))
        searched = self._types.indexed(release, OBSERVATION)
        search = parse_stored_search(others, searched, is_strict=is_strict)
        sets = await self._types.sets_of(principal.tenant, OBSERVATION)
        searches = TypeSearch(searched, self._resources, sets, self._restrictions)
        moment_ms = await self._types.snapshot()
        criteria = Criteria(search.filters, search.tests, Order.DATE, Direction(is_descending=True))
        groups, wanted = CodeGroups(size), _wanted_codes(others)
        name: SnapshotPageName | None = SnapshotPageName(moment_ms)
        matches: list[Match] = []
        read, has_unconvertible = 0, False
        while name is not None and not (wanted and groups.are_full(wanted)):
            if read >= _MAX_READ:
                text = f"More than {_MAX_READ:,} Observations match. Add codes, or a date."
                raise Unprocessable(Issue("too-costly", text))
            page = await searches.page(principal, criteria, name, _STEP)
            matches += [match for match in page.matches if groups.takes(match.resource.fields)]
            read += len(page.matches)
            has_unconvertible |= page.has_unconvertible
            name = page.next
        warnings = list(search.ignored)
        if has_unconvertible:
            text = f"Some Observations cannot be shown in FHIR {release}. Ask another base."
            warnings.append(Issue("not-supported", text, severity="warning"))
        return LastObservations(search, matches, moment_ms, warnings)


def _size(values: Sequence[str]) -> int:
    size = whole_number(values[0]) if values else 1
    if len(values) > 1 or size is None or not 1 <= size <= MAX_OF_CODE:
        raise Malformed(Issue("value", f"max takes one number from 1 to {MAX_OF_CODE}.", "max"))
    return size


def _wanted_codes(parameters: Parameters) -> list[str]:
    """The codes of a search for codes with their systems alone; nothing for any other search."""
    named = [value for name, value in parameters if name == "code"]
    codes = split(named[0], ",") if len(named) == 1 else []
    return codes if all(code.count("|") == 1 and not code.startswith("|") for code in codes) else []
