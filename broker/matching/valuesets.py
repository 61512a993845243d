"""Value sets for `:in` and `:not-in`, code systems for `:above` and `:below`, shipped as files (R-406).

A ValueSet file is kept as the codes it enumerates; one that needs a terminology server (a filter, a system or value set that is
not in the folder) is refused when the folder is read, for its membership couldn't be told exactly. What is above a code comes
from CodeSystem files that hold the whole system and say that nesting means `is-a`: the nesting of an expansion is for
navigation only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from broker.errors import BrokerError, ConfigurationError
from broker.matching.versions import version_order

Codes = frozenset[tuple[str, str]]
"""Pairs of system and code."""

_Ancestors = dict[str, dict[str, frozenset[str]]]
_Documents = dict[str, dict[str, Any]]


class ValueSets(Protocol):
    """What filters ask about codes. Answers may change while running; filters ask again each time."""

    def resolve(self, url: str) -> Codes | None:
        """The codes of the value set `url` or `url|version`; None where it isn't known."""
        ...

    def ancestors(self, system: str, code: str) -> frozenset[str] | None:
        """The code and all that subsume it; None where the system's hierarchy isn't known or has no such code."""
        ...


@dataclass(frozen=True, slots=True)
class ValueSetFolder:
    """What one folder holds; empty unless `read`."""

    codes: Mapping[str, Codes] = field(default_factory=dict)
    above: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)

    def resolve(self, url: str) -> Codes | None:
        return self.codes.get(url)

    def ancestors(self, system: str, code: str) -> frozenset[str] | None:
        return self.above.get(system, {}).get(code)

    @classmethod
    def read(cls, folder: Path) -> "ValueSetFolder":
        """A missing folder is an empty one. Raises ConfigurationError for the first file that can't be used."""
        found, problems = cls.check(folder)
        if problems:
            path, reason = problems[0]
            raise ConfigurationError(f"value set file {path}: {reason}")
        return found

    @classmethod
    def check(cls, folder: Path) -> tuple["ValueSetFolder", list[tuple[Path, str]]]:
        """What can be used, and each file that can't with the reason."""
        documents: _Documents = {}
        paths: dict[str, Path] = {}
        problems: list[tuple[Path, str]] = []
        for path in sorted(folder.glob("*.json")):
            try:
                name, document = _document(path)
            except (BrokerError, msgspec.DecodeError, OSError) as error:
                problems.append((path, " ".join(str(error).split())))
                continue
            if name in documents:
                problems.append((path, f"{name} is taken by {paths[name].name}"))
                continue
            documents[name], paths[name] = document, path
        ancestors: _Ancestors = {}
        reader = _Reader(documents, ancestors)
        codes: dict[str, Codes] = {}
        for kind, take in (("CodeSystem", reader.code_system), ("ValueSet", reader.value_set)):
            for name, document in documents.items():
                if document["resourceType"] != kind:
                    continue
                try:
                    taken = take(name)
                except _NotEnumerable as error:
                    problems.append((paths[name], str(error)))
                    continue
                except (TypeError, KeyError, AttributeError, RecursionError) as error:
                    problems.append((paths[name], f"this is no {kind} as FHIR defines it: {error!r}"))
                    continue
                if kind == "ValueSet":
                    codes[name] = taken
        return cls(_with_newest(codes, documents), ancestors), problems


class CurrentValueSets:
    """Always the value sets read last: whoever holds this sees a reload."""

    def __init__(self) -> None:
        self.contents = ValueSetFolder()

    def resolve(self, url: str) -> Codes | None:
        return self.contents.resolve(url)

    def ancestors(self, system: str, code: str) -> frozenset[str] | None:
        return self.contents.ancestors(system, code)


NO_VALUE_SETS: ValueSets = ValueSetFolder()


class _NotEnumerable(BrokerError):  # noqa: N818 named for what is the case
    """Which codes belong to it can't be told from the files alone."""


def _document(path: Path) -> tuple[str, dict[str, Any]]:
    document = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    if document.get("resourceType") not in {"ValueSet", "CodeSystem"}:
        raise _NotEnumerable("this is neither a ValueSet nor a CodeSystem")
    if not isinstance(document.get("url"), str):
        raise _NotEnumerable("it has no url")
    version = document.get("version")
    return (f"{document['url']}|{version}" if version else document["url"]), document


def _with_newest(codes: dict[str, Codes], documents: _Documents) -> dict[str, Codes]:
    """A url without version stands for its newest version."""
    newest: dict[str, str] = {}
    for name in sorted(codes, key=lambda one: version_order(documents[one].get("version"))):
        newest[documents[name]["url"]] = name
    return codes | {url: codes[name] for url, name in newest.items()}


class _Reader:
    """Enumerates, following references between the files."""

    def __init__(self, documents: _Documents, ancestors: _Ancestors) -> None:
        self._documents = documents
        self._ancestors = ancestors
        self._systems: dict[str, frozenset[str]] = {}
        self._open: list[str] = []

    def code_system(self, name: str) -> Codes:
        document = self._documents[name]
        url = document["url"]
        if document.get("content") != "complete":
            raise _NotEnumerable("its content is not complete")
        parents: dict[str, set[str]] = {}
        _collect(document.get("concept", []), None, parents)
        self._systems[url] = frozenset(parents)
        if document.get("hierarchyMeaning") == "is-a":
            self._ancestors[url] = {code: frozenset(_climb(code, parents)) for code in parents}
        return frozenset((url, code) for code in parents)

    def value_set(self, name: str) -> Codes:
        if name in self._open:
            raise _NotEnumerable(f"it includes itself, by way of {' and '.join(self._open)}")
        self._open.append(name)
        try:
            document = self._documents[name]
            if "compose" not in document:
                return _expanded(document)
            try:
                return self._composed(document["compose"])
            except _NotEnumerable:
                if "expansion" in document:
                    return _expanded(document)
                raise
        finally:
            self._open.pop()

    def _composed(self, compose: dict[str, Any]) -> Codes:
        included = frozenset[tuple[str, str]]().union(*(self._part(one) for one in compose["include"]))
        excluded = frozenset[tuple[str, str]]().union(
            *(self._part(one) for one in compose.get("exclude", ()))
        )
        return included - excluded

    def _part(self, part: dict[str, Any]) -> Codes:
        """All that one include says must hold: its concepts, and membership in each value set it names."""
        if part.get("filter"):
            raise _NotEnumerable("it has a filter, which needs a terminology server: list the codes instead")
        sets = [self._imported(url) for url in part.get("valueSet", ())]
        system = part.get("system")
        if system is not None:
            codes = [one["code"] for one in part.get("concept", ())] or self._all_of(system)
            sets.append(frozenset((system, code) for code in codes))
        if not sets:
            raise _NotEnumerable("an include names neither a system nor a value set")
        return frozenset.intersection(*sets)

    def _all_of(self, system: str) -> frozenset[str]:
        if system not in self._systems:
            raise _NotEnumerable(
                f"it includes all of {system}, which is not in the folder: list the codes instead"
            )
        return self._systems[system]

    def _imported(self, url: str) -> Codes:
        known = [
            name
            for name, one in self._documents.items()
            if one["resourceType"] == "ValueSet" and url in {name, one["url"]}
        ]
        if not known:
            raise _NotEnumerable(f"it includes the value set {url}, which is not in the folder")
        return self.value_set(max(known, key=lambda one: version_order(self._documents[one].get("version"))))


def _expanded(document: dict[str, Any]) -> Codes:
    if "expansion" not in document:
        raise _NotEnumerable("it has neither compose nor expansion")
    expansion = document["expansion"]
    listed = list(_contained(expansion.get("contains", ())))
    if expansion.get("offset") or expansion.get("total", len(listed)) > len(listed):
        raise _NotEnumerable("its expansion is one page of several")
    return frozenset(
        (one["system"], one["code"]) for one in listed if not one.get("abstract") and "code" in one
    )


def _contained(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in entries:
        yield one
        yield from _contained(one.get("contains", []))


def _collect(concepts: list[dict[str, Any]], above: str | None, parents: dict[str, set[str]]) -> None:
    """Each code with those right above it: by nesting, or by the properties `parent` and `child`."""
    for one in concepts:
        own = parents.setdefault(one["code"], set())
        if above is not None:
            own.add(above)
        for named in one.get("property", ()):
            if named["code"] == "parent":
                own.add(named["valueCode"])
            elif named["code"] == "child":
                parents.setdefault(named["valueCode"], set()).add(one["code"])
        _collect(one.get("concept", []), one["code"], parents)


def _climb(code: str, parents: dict[str, set[str]]) -> set[str]:
    found, waiting = {code}, [code]
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found
