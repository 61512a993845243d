"""The judge's findings are sorted: accepted ones by the table, the rest fail the run."""

import json
from pathlib import Path

import pytest

from tests.validation.collection import Collection
from tests.validation.guides import Comparison, chosen, read_guide
from tests.validation.java_project import is_without_answer
from tests.validation.judge import ACCEPTED, ACCEPTED_WITHOUT_PROFILES, Finding, read_accepted, unaccepted

TABLE = "# a comment\n\nwarning\tCodeSystem is unknown.*loinc\tno copy of LOINC\n"


@pytest.mark.parametrize(
    ("finding", "is_accepted"),
    [
        (
            Finding("r4/a.json", "warning", "Observation.code", "CodeSystem is unknown: http://loinc.org"),
            True,
        ),
        (Finding("r4/a.json", "error", "Observation.code", "CodeSystem is unknown: http://loinc.org"), False),
        (Finding("r4/a.json", "warning", "Observation.code", "something else"), False),
        (Finding("r4/a.json", "information", "Observation", "a note"), True),
    ],
)
def test_only_findings_of_the_table_are_accepted(tmp_path: Path, finding: Finding, is_accepted: bool) -> None:
    table = tmp_path / "accepted.tsv"
    table.write_text(TABLE)
    assert unaccepted([finding], read_accepted(table)) == ([] if is_accepted else [finding])


@pytest.mark.parametrize("path", [ACCEPTED, ACCEPTED_WITHOUT_PROFILES], ids=lambda path: path.stem)
def test_each_accepted_finding_has_a_reason(path: Path) -> None:
    assert all(len(row.reason) > 20 for row in read_accepted(path))


def test_a_profile_that_is_absent_is_accepted_only_without_definitions() -> None:
    url = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription"
    text = f"Profile reference '{url}' has not been checked because it could not be found"
    finding = Finding("r4/a.json", "error", "Subscription.meta.profile[0]", text)
    assert unaccepted([finding], read_accepted()) == [finding]
    assert unaccepted([finding], read_accepted(ACCEPTED_WITHOUT_PROFILES)) == []


def test_documents_of_one_kind_do_not_replace_each_other(tmp_path: Path) -> None:
    documents = Collection(tmp_path)
    documents.add("r5", "status", b'{"resourceType":"Bundle"}')
    documents.add("r5", "status", {"resourceType": "Bundle", "type": "searchset"})
    assert sorted(path.name for path in (tmp_path / "r5").iterdir()) == ["status-2.json", "status.json"]
    with pytest.raises(ValueError, match="is no resource"):
        documents.add("r5", "status", b"[]")


def test_of_documents_that_differ_in_ids_and_instants_only_one_is_judged(tmp_path: Path) -> None:
    documents = Collection(tmp_path)
    ids = ("0c0dbb0e-58a4-5a0c-9d9a-5a6a1a6a7c01", "3a890f8d-c28b-49c7-997f-3f81ceb49b8e")
    for id_, instant in zip(ids, ("2026-03-01T08:00:00Z", "2026-03-01T08:00:00.123+01:00"), strict=True):
        documents.add("r4", "status", {"resourceType": "Bundle", "id": id_, "timestamp": instant})
    documents.add("r4b", "status", {"resourceType": "Bundle", "id": ids[0], "timestamp": "2026-03-01"})
    documents.add("r4", "status", {"resourceType": "Bundle", "id": "ana", "timestamp": "2026-03-01"})
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))
    assert written == ["r4/status-2.json", "r4/status.json", "r4b/status.json"]


def test_a_guide_has_its_definitions_and_the_resources_that_declare_its_profiles(tmp_path: Path) -> None:
    url = "http://example.org/StructureDefinition/p"
    files: dict[str, object] = {
        "p": {"resourceType": "StructureDefinition", "url": url},
        "codes": {"resourceType": "ValueSet", "url": "http://example.org/ValueSet/v"},
        "own": {"resourceType": "Observation", "meta": {"profile": [url]}, "valueInteger": 1},
        "bundled": {"resourceType": "Bundle", "entry": [{}, {"resource": {"meta": {"profile": [url]}}}]},
        "other": {"resourceType": "Observation", "meta": {"profile": ["http://example.org/q"]}},
        "package": {"name": "guide"},
        "index": [],
    }
    (tmp_path / "examples").mkdir()
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "own.json").rename(tmp_path / "examples" / "p.json")
    guide = read_guide(tmp_path)
    assert [each["resourceType"] for each in guide.definitions] == ["ValueSet", "StructureDefinition"]
    assert list(guide.examples) == ["bundled", "examples/p"]


@pytest.mark.parametrize(
    ("number", "left"),
    [(0, []), (1, [9]), (2, [4, 9]), (3, [3, 7]), (5, [1, 3, 5, 7, 9]), (99, [*range(10)])],
)
def test_the_alterations_of_a_guide_are_taken_from_all_of_an_example(number: int, left: list[int]) -> None:
    altered: list[tuple[str, dict[str, object]]] = [(str(n), {}) for n in range(10)]
    assert [int(name) for name, _ in chosen(altered, number)] == left


def test_verdicts_for_want_of_terminology_count_only_beside_an_error_of_the_broker() -> None:
    def found(severity: str, message: str) -> Finding:
        return Finding("r4/0.json", severity, "Observation", message)

    terminology = found("error", "CodeSystem is unknown and can't be validated: urn:x")
    structure = found("error", "Observation.code: minimum required = 1, but only found 0")
    comparison = Comparison()
    comparison.add("a", [], [terminology, found("warning", "a warning")])
    comparison.add("b", ["code is missing"], [terminology])
    comparison.add("c", ["code is missing"], [structure])
    comparison.add("d", [], [found("undecided", "the validator failed")])
    comparison.add("e", [], [structure])
    comparison.add("f", [], [structure])
    comparison.add("g", ["slice 'x' has 3 items"], [])
    *differences, counts = comparison.lines()
    assert differences == [
        "2  refused only by HL7's validator: Observation.code: minimum required = _, but only found _",
        "    such as e",
        "1  refused only by the broker: slice _ has _ items",
        "    such as g",
    ]
    assert counts == (
        "guide: 1 accepted by both, 1 refused by both, 1 refused by both, by HL7's for want of terminology, "
        "1 undecided, 3 judged differently"
    )


@pytest.mark.parametrize(
    ("output", "is_skipped"),
    [
        ("[ERROR] Could not transfer artifact a:b:pom:1 from/to central (...): repo: Name not known", True),
        ("Caused by: java.net.UnknownHostException: repo", True),
        ("[ERROR] Could not find artifact a:b:jar:1 in central", False),
        ("[ERROR] COMPILATION ERROR : Judge.java:[3,1] cannot find symbol", False),
    ],
)
def test_validation_is_skipped_only_where_no_repository_answers(output: str, is_skipped: bool) -> None:
    assert is_without_answer(output) is is_skipped
