"""Value sets for `:in` and `:not-in`, and code systems for `:above` and `:below`, read from files (R-406).

A ValueSet file becomes the set of codes that it enumerates. A ValueSet that needs a terminology server (it
has a filter, or names a system or value set that is not in the folder) is refused when the folder is read,
because its codes are not known exactly. The hierarchy of codes comes from CodeSystem files that are complete
and declare that nesting means `is-a`: the nesting of an expansion is for navigation only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from broker.errors import BrokerError, ConfigurationError
from broker.matching.versions import version_order
from broker.model.json_text import decode_object

Codes = frozenset[tuple[str, str]]
"""Pairs of system and code."""

_Hierarchies = dict[str, dict[str, frozenset[str]]]
_Documents = dict[str, dict[str, Any]]


class ValueSets(Protocol):
    """Answers the questions of filters about codes. Answers may change after a reload, so filters don't cache
    them.
    """

    def resolve(self, url: str) -> Codes | None:
        """The codes of the value set `url` or `url|version`; None if it is not loaded."""
        ...

    def lists(self, url: str, code: str) -> bool:
        """Whether the value set has the code in any system."""
        ...

    def ancestors(self, system: str, code: str) -> frozenset[str] | None:
        """The code and all codes that subsume it; None if the hierarchy is not loaded or lacks the code."""
        ...


@dataclass(frozen=True, slots=True)
class ValueSetFolder:
    """The value sets and hierarchies of one folder. `ancestors_by_code` is keyed by system, then by code."""

    codes: Mapping[str, Codes] = field(default_factory=dict)
    ancestors_by_code: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    _without_system: dict[str, frozenset[str]] = field(default_factory=dict, compare=False)
    """The codes of those value sets that were asked for a code without a system."""

    def resolve(self, url: str) -> Codes | None:
        return self.codes.get(url)

    def lists(self, url: str, code: str) -> bool:
        codes = self._without_system.get(url)
        if codes is None:
            codes = self._without_system[url] = frozenset(listed for _, listed in self.codes.get(url, ()))
        return code in codes

    def ancestors(self, system: str, code: str) -> frozenset[str] | None:
        return self.ancestors_by_code.get(system, {}).get(code)

    @classmethod
    def read(cls, folder: Path) -> "ValueSetFolder":
        """A missing folder counts as empty.

        Raises ConfigurationError for the first file that can't be used.
        """
        value_sets, problems = cls.check(folder)
        if problems:
            path, reason = problems[0]
            raise ConfigurationError(f"value set file {path}: {reason}")
        return value_sets

    @classmethod
    def check(cls, folder: Path) -> tuple["ValueSetFolder", list[tuple[Path, str]]]:
        """The value sets that can be used, and the files that can't be used with the reasons."""
        documents: _Documents = {}
        paths: dict[str, Path] = {}
        problems: list[tuple[Path, str]] = []
        for path in sorted(folder.glob("*.json")):
            try:
                name, document = _document(path)
            except (BrokerError, OSError) as error:
                problems.append((path, " ".join(str(error).split())))
                continue
            if name in documents:
                problems.append((path, f"{name} is already defined in {paths[name].name}"))
                continue
            documents[name], paths[name] = document, path
        ancestors: _Hierarchies = {}
        enumerator = _Enumerator(documents, ancestors)
        codes: dict[str, Codes] = {}
        for resource_type, enumerate_codes in (
            ("CodeSystem", enumerator.code_system),
            ("ValueSet", enumerator.value_set),
        ):
            for name, document in documents.items():
                if document["resourceType"] != resource_type:
                    continue
                try:
                    enumerated = enumerate_codes(name)
                except _NotEnumerable as error:
                    problems.append((paths[name], str(error)))
                    continue
                except (TypeError, KeyError, AttributeError, RecursionError) as error:
                    problems.append((paths[name], f"it is not a valid {resource_type}: {error!r}"))
                    continue
                if resource_type == "ValueSet":
                    codes[name] = enumerated
        return cls(_with_newest(codes, documents), ancestors), problems


class CurrentValueSets:
    """The value sets that were read last. Holders of this object see a reload."""

    def __init__(self) -> None:
        self.contents = ValueSetFolder()

    def resolve(self, url: str) -> Codes | None:
        return self.contents.resolve(url)

    def lists(self, url: str, code: str) -> bool:
        return self.contents.lists(url, code)

    def ancestors(self, system: str, code: str) -> frozenset[str] | None:
        return self.contents.ancestors(system, code)


NO_VALUE_SETS: ValueSets = ValueSetFolder()


class _NotEnumerable(BrokerError):  # noqa: N818 named for what is the case
    """The files alone don't say which codes belong to the value set or code system."""


def _document(path: Path) -> tuple[str, dict[str, Any]]:
    document = decode_object(path.read_bytes())
    if document.get("resourceType") not in {"ValueSet", "CodeSystem"}:
        raise _NotEnumerable("it is neither a ValueSet nor a CodeSystem")
    if not isinstance(document.get("url"), str):
        raise _NotEnumerable("it has no url")
    version = document.get("version")
    return (f"{document['url']}|{version}" if version else document["url"]), document


def _with_newest(codes: dict[str, Codes], documents: _Documents) -> dict[str, Codes]:
    """Adds each url without version, which means the newest version."""
    newest: dict[str, str] = {}
    for name in sorted(codes, key=lambda name: version_order(documents[name].get("version"))):
        newest[documents[name]["url"]] = name
    return codes | {url: codes[name] for url, name in newest.items()}


class _Enumerator:
    """Enumerates the codes of the files, across references between them."""

    def __init__(self, documents: _Documents, ancestors: _Hierarchies) -> None:
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
            self._ancestors[url] = {code: _ancestors(code, parents) for code in parents}
        return frozenset((url, code) for code in parents)

    def value_set(self, name: str) -> Codes:
        if name in self._open:
            raise _NotEnumerable(f"it includes itself, through {' and '.join(self._open)}")
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
        included = frozenset[tuple[str, str]]().union(*(self._part(part) for part in compose["include"]))
        excluded = frozenset[tuple[str, str]]().union(
            *(self._part(part) for part in compose.get("exclude", ()))
        )
        return included - excluded

    def _part(self, part: dict[str, Any]) -> Codes:
        """The codes of one include or exclude: those in its concepts and in every value set that it names."""
        if part.get("filter"):
            raise _NotEnumerable("it has a filter, which needs a terminology server; list the codes instead")
        sets = [self._imported(url) for url in part.get("valueSet", ())]
        system = part.get("system")
        if system is not None:
            codes = [concept["code"] for concept in part.get("concept", ())] or self._all_of(system)
            sets.append(frozenset((system, code) for code in codes))
        if not sets:
            raise _NotEnumerable("an include names neither a system nor a value set")
        return frozenset.intersection(*sets)

    def _all_of(self, system: str) -> frozenset[str]:
        if system not in self._systems:
            raise _NotEnumerable(
                f"it includes all of {system}, which is not in the folder; list the codes instead"
            )
        return self._systems[system]

    def _imported(self, url: str) -> Codes:
        versions = [
            name
            for name, document in self._documents.items()
            if document["resourceType"] == "ValueSet" and url in {name, document["url"]}
        ]
        if not versions:
            raise _NotEnumerable(f"it includes the value set {url}, which is not in the folder")
        newest = max(versions, key=lambda name: version_order(self._documents[name].get("version")))
        return self.value_set(newest)


def _expanded(document: dict[str, Any]) -> Codes:
    if "expansion" not in document:
        raise _NotEnumerable("it has neither compose nor expansion")
    expansion = document["expansion"]
    listed = list(_contained(expansion.get("contains", ())))
    if expansion.get("offset") or expansion.get("total", len(listed)) > len(listed):
        raise _NotEnumerable("its expansion is incomplete: it is one page of several")
    return frozenset(
        (entry["system"], entry["code"]) for entry in listed if not entry.get("abstract") and "code" in entry
    )


def _contained(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        yield from _contained(entry.get("contains", []))


def _collect(concepts: list[dict[str, Any]], parent: str | None, parents: dict[str, set[str]]) -> None:
    """Adds the direct parents of each code: by nesting, and by the properties `parent` and `child`."""
    for concept in concepts:
        own_parents = parents.setdefault(concept["code"], set())
        if parent is not None:
            own_parents.add(parent)
        for code_property in concept.get("property", ()):
            if code_property["code"] == "parent":
                own_parents.add(code_property["valueCode"])
            elif code_property["code"] == "child":
                parents.setdefault(code_property["valueCode"], set()).add(concept["code"])
        _collect(concept.get("concept", []), concept["code"], parents)


def _ancestors(code: str, parents: dict[str, set[str]]) -> frozenset[str]:
    """The code and everything above it."""
    ancestors, pending = {code}, [code]
    while pending:
        for parent in parents.get(pending.pop(), ()):
            if parent not in ancestors:
                ancestors.add(parent)
                pending.append(parent)
    return frozenset(ancestors)
