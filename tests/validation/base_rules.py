"""The generated tables of `broker/profiles`, from HL7's own definitions: required codes and reference targets
of the elements of all types (`base_types.tsv`), and invariants that are evaluated as FHIRPath
(`base_invariants.tsv`).

`python -m tests.validation --record` writes them; `make validate` compares them.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from broker.fhir.element_tables import NESTED, Element
from broker.model.release import Release
from broker.profiles.definitions import Binding, ElementRules, parse_element
from broker.profiles.invariants import CHECKED_ELSEWHERE, INVARIANTS
from broker.profiles.trees import choice_elements, find_table
from broker.profiles.value_sets import ValueSets
from broker.profiles.vital_signs import HL7
from tests.unit.profiles.examples import Json
from tests.validation import java_project

_PACKAGE = Path(__file__).parents[2] / "broker" / "profiles"
TYPES, INVARIANTS_FILE = _PACKAGE / "base_types.tsv", _PACKAGE / "base_invariants.tsv"
_HEADERS = {
    TYPES: "releases\ttype\telement\trule\tvalues",
    INVARIANTS_FILE: "releases\ttype\telement\tkey\tpath\texpression",
}
_MAX_CODES = 400
_TEXTS = frozenset({"code", "string", "uri"})
_CONCEPTS = frozenset({"CodeableConcept", "Coding", "Quantity", "CodeableReference"})
_SKIPPED = frozenset(INVARIANTS) | CHECKED_ELSEWHERE
_SELF = "."


class _Place(NamedTuple):
    """An element of a type, by its name in JSON."""

    owner: str
    element: Element


def generate(folder: Path) -> Mapping[Path, str]:
    """The content of the tables, by the definitions in the subfolders of the releases."""
    rows: dict[Path, dict[str, list[str]]] = {file: defaultdict(list) for file in _HEADERS}
    for release in Release:
        definitions = _Definitions(folder / str(release))
        for file, found in (
            (TYPES, _types(release, definitions)),
            (INVARIANTS_FILE, _invariants(release, definitions)),
        ):
            for row in dict.fromkeys(found):
                rows[file][row].append(release.name)
    return {file: _text(_HEADERS[file], each) for file, each in rows.items()}


def _text(header: str, rows: Mapping[str, Sequence[str]]) -> str:
    lines = sorted(f"{row}\t{' '.join(releases)}" for row, releases in rows.items())
    shown = [f"{line.rpartition(chr(9))[2]}\t{line.rpartition(chr(9))[0]}" for line in lines]
    return "\n".join([header, *shown]) + "\n"


class _Definitions:
    """The definitions of one release by their canonical URL."""

    def __init__(self, folder: Path) -> None:
        self._by_url: dict[tuple[str, str], Json] = {}
        for path in sorted(folder.glob("*.json")):
            fields = json.loads(path.read_text())
            self._by_url[fields["resourceType"], fields.get("url", "")] = fields
        self.value_sets = ValueSets(self._find)

    def _find(self, kind: str, canonical: str) -> Mapping[str, Any] | None:
        return self._by_url.get((kind, canonical.partition("|")[0]))

    def types(self) -> Iterator[Json]:
        """The definitions of resources and datatypes."""
        for (kind, url), fields in self._by_url.items():
            is_type = kind == "StructureDefinition" and url == f"{HL7}{fields['type']}"
            if is_type and fields["kind"] in {"resource", "complex-type"}:
                yield fields


def _elements(
    release: Release, definitions: _Definitions
) -> Iterator[tuple[Sequence[_Place], ElementRules, str]]:
    """Each element of each type: where it is, its rules, and its path. A type itself is nowhere."""
    for fields in definitions.types():
        if find_table(release, fields["type"]) is None:
            continue
        for element in fields["snapshot"]["element"]:
            rules = parse_element(element, fields["url"])
            yield _places(release, element["path"]), rules, element["path"]


def _places(release: Release, path: str) -> Sequence[_Place]:
    owner, *steps = path.split(".")
    places: list[_Place] = []
    for step in steps:
        table = find_table(release, owner)
        if table is None:
            return []
        name = step.removesuffix("[x]")
        found = choice_elements(table, name) if name != step else {name: table.elements.get(name)}
        places = [_Place(owner, each) for each in found.values() if each is not None]
        if len(places) == 1:
            owner = places[0].element.type_name
    return places


def _types(release: Release, definitions: _Definitions) -> Iterator[str]:
    for places, rules, _ in _elements(release, definitions):
        for owner, element in places:
            own = [each for each in rules.types or () if each.code == element.type_name]
            start = f"{owner}\t{element.name}"
            targets = [url.rpartition("/")[2] for each in own for url in each.targets]
            if targets and "Resource" not in targets and element.type_name != "canonical":
                yield f"{start}\ttargets\t{' '.join(sorted(set(targets)))}"
            if any(f"{HL7}SimpleQuantity" in each.profiles for each in own):
                yield f"{start}\tinvariant\tsqty-1"
            codes = _codes(definitions, rules.binding)
            if codes and element.type_name in _TEXTS:
                yield f"{start}\tcodes\t{' '.join(sorted({code for _, code in codes}))}"
            elif codes and element.type_name in _CONCEPTS:
                yield f"{start}\tconcepts\t{' '.join(sorted(f'{system}|{code}' for system, code in codes))}"


def _codes(definitions: _Definitions, binding: Binding | None) -> frozenset[tuple[str, str]]:
    """The codes of a required binding; none if they are not enumerated, or too many for a table."""
    if binding is None or len(binding.required) != 1:
        return frozenset()
    codes = definitions.value_sets.codes(binding.required[0]) or frozenset()
    has_spaces = any(" " in code for _, code in codes)
    return frozenset() if has_spaces or len(codes) > _MAX_CODES else codes


def _invariants(release: Release, definitions: _Definitions) -> Iterator[str]:
    for places, rules, path in _elements(release, definitions):
        for rule in rules.constraints.values():
            if rule.severity != "error" or rule.key in _SKIPPED or not rule.expression:
                continue
            end = f"{rule.key}\t{path}\t{' '.join(rule.expression.split())}"
            if "." not in path:
                yield f"{path}\t{_SELF}\t{end}"
            for owner, element in places:
                is_backbone = element.has_elements and element.type_name.startswith(owner)
                if is_backbone:
                    yield f"{element.type_name}\t{_SELF}\t{end}"
                elif element.type_name != NESTED:
                    yield f"{owner}\t{element.name}\t{end}"


def compare_tables(folder: Path, *, record: bool = False) -> list[str]:
    """What the tables say otherwise than HL7's definitions, a line each. Raises `JavaFailed`."""
    java_project.run("org.fhirbroker.validator.Definitions", str(folder))
    lines = []
    for file, expected in generate(folder).items():
        if record:
            file.write_text(expected)
        difference = set(expected.splitlines()) ^ set(file.read_text().splitlines())
        lines += [f"{file.name}: {line}" for line in sorted(difference)]
    return lines
