"""Compares the broker's verdicts about examples of profiles, their mutants and harmless changes with HL7's.

`record` writes the verdicts of HL7's validator about the alterations to `hl7_verdicts.tsv`, by which the
default suite judges the broker's compiler without Java.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from broker.model.release import Release
from broker.profiles.vital_signs import HL7, US_CORE, US_CORE_TARGETS, shipped_definitions
from tests.unit.profiles.alterations import alterations
from tests.unit.profiles.catalogs import definition
from tests.unit.profiles.differences import Difference, read_differences
from tests.unit.profiles.examples import Json, examples, resource_of
from tests.unit.profiles.mutants import harmless, mutants
from tests.unit.profiles.own_definitions import own_definitions
from tests.unit.profiles.own_releases import definitions_of, examples_of, validator_of
from tests.unit.profiles.verdicts import write_verdicts
from tests.validation.judge import judge


class Case(NamedTuple):
    name: str
    fields: Json
    release: Release = Release.R4
    is_alteration: bool = False


def cases() -> Iterator[Case]:
    """Every document that both validators judge; the name tells what was changed."""
    for name, fields in examples().items():
        yield Case(name, fields)
        for variant in (*mutants(name, fields), *harmless(name, fields)):
            yield Case(variant.name, variant.fields)
        for altered_name, altered in alterations(name, fields):
            yield Case(altered_name, altered, is_alteration=True)
    for release in Release:
        for name, fields in examples_of(release).items():
            yield Case(name, fields, release)
            for altered_name, altered in alterations(name, fields):
                yield Case(altered_name, altered, release, is_alteration=True)


def compare_profiles(folder: Path, published: Path | None, *, record: bool = False) -> list[str]:
    """What the validators disagree about, a line each, and a last line with the counts.

    `published` has HL7's own definitions of the US Core profiles; without it, those of the broker are judged.
    """
    all_cases = list(cases())
    folders = {release: folder / "profiles" / release for release in Release}
    for release, definitions in folders.items():
        definitions.mkdir(parents=True)
        (folder / "documents" / release).mkdir(parents=True)
        _write_definitions(release, definitions, published)
    for case in all_cases:
        file = folder / "documents" / case.release / f"{case.name}.json"
        file.write_bytes(resource_of(case.fields).text)
    judged, findings = judge(folder / "documents", {str(each): path for each, path in folders.items()})
    refused = {_name(each.file) for each in findings if each.severity in {"fatal", "error"}}
    undecided = {_name(each.file) for each in findings if each.severity == "undecided"}
    if record:
        names = [case.name for case in all_cases if case.is_alteration and case.name not in undecided]
        write_verdicts(names, refused)
    validators = {release: validator_of(release) for release in Release}
    differences, lines, agreed, known = read_differences(), [], 0, 0
    for case in all_cases:
        validator, resource = validators[case.release], resource_of(case.fields)
        issues = validator.validate(case.release, case.fields["resourceType"], resource)
        ours = any(issue.severity in {"fatal", "error"} for issue in issues)
        if case.name in undecided or ours == (case.name in refused):
            agreed += case.name not in undecided
        elif _is_known(case.name, differences):
            known += 1
        else:
            verdict = "refused only by the broker" if ours else "refused only by HL7's validator"
            lines.append(f"{case.name}: {verdict}")
    text = f"{judged} documents: {agreed} judged alike, {known} known differences, {len(undecided)} undecided"
    return [*lines, f"profiles: {text}; {len(lines)} unexplained"]


def _write_definitions(release: Release, folder: Path, published: Path | None) -> None:
    own = definitions_of(release) if release is not Release.R4 else [*_us_core(published), *own_definitions()]
    for n, each in enumerate(own):
        complete = {"status": "active", "abstract": False, **each}
        (folder / f"{n}.json").write_text(json.dumps(complete))


def _us_core(published: Path | None) -> list[Any]:
    us_core: list[Any] = [each for each in shipped_definitions() if each["url"].startswith(US_CORE)]
    if published is not None:
        us_core = [json.loads(path.read_text()) for path in sorted(published.glob("us-core-*.json"))]
    targets = [
        definition(f"{US_CORE}{name}", f"{HL7}{kind}", {"id": kind, "path": kind}, type=kind)
        for name, kind in US_CORE_TARGETS.items()
    ]
    return [*us_core, *targets]


def _name(file: str) -> str:
    return file.partition("/")[2].removesuffix(".json")


def _is_known(name: str, differences: list[Difference]) -> bool:
    return any(each.pattern.fullmatch(name) for each in differences)
