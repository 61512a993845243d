"""Compares the broker's verdicts about the examples of an implementation guide, and their alterations, with
those of HL7's validator. The guide is a folder that is not part of the project.

HL7's validator refuses codes of systems that it does not have, as there is no terminology server. What it
refuses for nothing else is taken as accepted, unless the broker refuses it too.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from broker.fhir.validation import StructureValidator
from broker.ingest.conformance import ConformanceValidator, ProfilePolicy
from broker.matching.fhirpath import compile_invariant
from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource
from broker.profiles.catalog import ProfileCatalog
from broker.profiles.packages import Definition
from tests.unit.profiles.alterations import alterations
from tests.validation.judge import Finding, judge

_DEFINITIONS = frozenset({"StructureDefinition", "ValueSet", "CodeSystem"})
_ERRORS = frozenset({"fatal", "error"})
_TERMINOLOGY = re.compile(
    "CodeSystem is unknown|unknown code|unable to (?:validate code|expand)|so the code cannot be validated"
    "|none of the codings provided|not in the value set|wrong display name|UCUM",
    re.IGNORECASE,
)
_NAMES = re.compile(r"'[^']*'|\[[^\]]*\]|\d+|urn:uuid:\S+")
Json = dict[str, Any]


class Guide(NamedTuple):
    """Definitions, and examples by the name of their file."""

    definitions: Sequence[Json]
    examples: Mapping[str, Json]


class Comparison:
    """What both judged alike, by kind, and the documents that they did not, by what the one of them said."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.differences: dict[str, list[str]] = {}

    def add(self, name: str, ours: Sequence[str], theirs: Sequence[Finding]) -> None:
        """Of one document. `ours` are the errors of the broker."""
        if any(each.severity == "undecided" for each in theirs):
            self.counts["undecided"] += 1
            return
        errors = [each.message for each in theirs if each.severity in _ERRORS]
        structural = [each for each in errors if not _TERMINOLOGY.search(each)]
        if bool(ours) == bool(structural):
            self.counts["refused by both" if ours else "accepted by both"] += 1
        elif ours and errors:
            self.counts["refused by both, by HL7's for want of terminology"] += 1
        else:
            who, text = ("the broker", ours[0]) if ours else ("HL7's validator", structural[0])
            reason = f"refused only by {who}: {_NAMES.sub('_', text)}"
            self.differences.setdefault(reason, []).append(name)

    def lines(self) -> Iterator[str]:
        """The differences, the most frequent first, and the counts."""
        for reason, names in sorted(self.differences.items(), key=lambda row: (-len(row[1]), row[0])):
            yield f"{len(names)}  {reason}"
            yield f"    such as {names[0]}"
        differing = sum(map(len, self.differences.values()))
        counts = [f"{count} {kind}" for kind, count in sorted(self.counts.items())]
        yield f"guide: {', '.join([*counts, f'{differing} judged differently'])}"


def read_guide(folder: Path) -> Guide:
    """The JSON files of a folder, such as an unpacked package. Examples are the resources that declare one of
    its profiles.
    """
    paths = sorted(folder.rglob("*.json"))
    resources = {str(path.relative_to(folder).with_suffix("")): _read(path) for path in paths}
    definitions = [each for each in resources.values() if each.get("resourceType") in _DEFINITIONS]
    urls = {each["url"] for each in definitions if each["resourceType"] == "StructureDefinition"}
    examples = {name: each for name, each in resources.items() if urls & {*_profiles(each)}}
    return Guide(definitions, examples)


def compare_guide(guide: Guide, folder: Path, per_example: int, release: Release = Release.R4) -> Comparison:
    """`folder` is for the documents; `per_example` is how many alterations of each example are judged."""
    cases: dict[str, Json] = {}
    for name, fields in guide.examples.items():
        cases |= {name: fields} | dict(chosen(list(alterations(name, fields)), per_example))
    numbers = {name: f"{n}" for n, name in enumerate(cases)}
    documents, definitions = folder / "documents", folder / "definitions"
    (documents / release).mkdir(parents=True)
    definitions.mkdir()
    for n, definition in enumerate(guide.definitions):
        (definitions / f"{n}.json").write_bytes(json_text.encode(definition))
    for name, fields in cases.items():
        (documents / release / f"{numbers[name]}.json").write_bytes(json_text.encode(fields))
    _, findings = judge(documents, {str(release): definitions})
    by_number: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_number[Path(finding.file).stem].append(finding)
    catalog = ProfileCatalog([Definition.of_fields(each) for each in guide.definitions], compile_invariant)
    validator = ConformanceValidator(StructureValidator(), catalog, ProfilePolicy.REJECT, {})
    comparison = Comparison()
    for name, fields in cases.items():
        issues = validator.validate(release, fields["resourceType"], Resource(json_text.encode(fields)))
        ours = [issue.text for issue in issues if issue.severity in _ERRORS]
        comparison.add(name, ours, by_number[numbers[name]])
    return comparison


def chosen(altered: Sequence[tuple[str, Json]], number: int) -> Sequence[tuple[str, Json]]:
    """At most that many of the alterations, evenly over the whole of the example."""
    step = max(1, -(-len(altered) // number)) if number else len(altered) + 1
    return altered[step - 1 :: step]


def _read(path: Path) -> Json:
    read = json.loads(path.read_bytes(), parse_float=Decimal)
    return read if isinstance(read, dict) else {}


def _profiles(resource: Json) -> Iterator[str]:
    """Those that the resource, or an entry of the Bundle, declares."""
    yield from (resource.get("meta") or {}).get("profile", ())
    for entry in resource.get("entry", ()):
        yield from _profiles(entry.get("resource", {}))
