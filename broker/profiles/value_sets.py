"""Value sets of the definitions at hand, as sets of codes.

A value set is known if its expansion is given, or if it enumerates its codes, names whole code systems that
are given completely, or refers to value sets that are known. Any other (a filter, a system that is not given)
would need a terminology server: then nothing is said about a code, and no resource is refused for it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Codes = frozenset[tuple[str, str]]
"""Pairs of system and code."""
Find = Callable[[str, str], Mapping[str, Any] | None]
"""Finds a definition by resource type and canonical URL, which may have a version."""


class ValueSets:
    """Resolves value sets, each once."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._known: dict[str, Codes | None] = {}

    def codes(self, url: str) -> Codes | None:
        """None if the codes are not known exactly."""
        if url not in self._known:
            self._known[url] = None  # a value set that refers to itself is not known
            self._known[url] = self._resolve(url)
        return self._known[url]

    def _resolve(self, url: str) -> Codes | None:
        value_set = self._find("ValueSet", url)
        if value_set is None:
            return None
        expansion = value_set.get("expansion")
        if isinstance(expansion, dict) and expansion.get("contains") and not _is_partial(expansion):
            return frozenset(_contained(expansion["contains"]))
        compose = value_set.get("compose")
        if not isinstance(compose, dict) or not compose.get("include"):
            return None
        included = self._union(compose["include"])
        excluded = self._union(compose.get("exclude", []))
        return None if included is None or excluded is None else included - excluded

    def _union(self, parts: Any) -> Codes | None:
        codes: set[tuple[str, str]] = set()
        for part in parts:
            part_codes = self._part(part)
            if part_codes is None:
                return None
            codes |= part_codes
        return frozenset(codes)

    def _part(self, part: Mapping[str, Any]) -> Codes | None:
        """The codes of one include: those of its system, as far as they are in all its value sets."""
        sets: list[Codes | None] = [self.codes(url) for url in part.get("valueSet", ())]
        if "system" in part:
            sets.append(self._of_system(part))
        known = [each for each in sets if each is not None]
        if not known or len(known) < len(sets):
            return None
        return frozenset.intersection(*known)

    def _of_system(self, part: Mapping[str, Any]) -> Codes | None:
        system = part["system"]
        if "concept" in part:
            return frozenset((system, each["code"]) for each in part["concept"])
        code_system = self._find("CodeSystem", system)
        if code_system is None or code_system.get("content") != "complete":
            return None
        tree = code_system.get("concept", [])
        filters = part.get("filter", [])
        if not filters:
            return frozenset((system, code) for code, _ in _concepts(tree, ()))
        if code_system.get("hierarchyMeaning", "is-a") != "is-a" or len(filters) > 1:
            return None
        property_name, op, value = (filters[0].get(name) for name in ("property", "op", "value"))
        if property_name != "concept" or op not in {"is-a", "descendent-of"}:
            return None
        return frozenset(
            (system, code)
            for code, parents in _concepts(tree, ())
            if value in parents or (op == "is-a" and code == value)
        )


def _is_partial(expansion: Mapping[str, Any]) -> bool:
    total = expansion.get("total")
    return isinstance(total, int) and total > sum(1 for _ in _contained(expansion["contains"]))


def _contained(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if "code" in entry and not entry.get("abstract"):
            yield entry.get("system", ""), entry["code"]
        yield from _contained(entry.get("contains", ()))


def _concepts(entries: Any, parents: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for entry in entries:
        yield entry["code"], parents
        yield from _concepts(entry.get("concept", ()), (*parents, entry["code"]))
