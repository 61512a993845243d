"""The judge's findings are sorted: accepted ones by the table, the rest fail the run."""

from pathlib import Path

import pytest

from tests.validation.collection import Collection
from tests.validation.judge import Finding, read_accepted, unaccepted

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


def test_each_accepted_finding_has_a_reason() -> None:
    assert all(len(row.reason) > 20 for row in read_accepted())


def test_documents_of_one_kind_do_not_replace_each_other(tmp_path: Path) -> None:
    documents = Collection(tmp_path)
    documents.add("r5", "status", b'{"resourceType":"Bundle"}')
    documents.add("r5", "status", {"resourceType": "Bundle"})
    assert sorted(path.name for path in (tmp_path / "r5").iterdir()) == ["status-2.json", "status.json"]
    with pytest.raises(ValueError, match="is no resource"):
        documents.add("r5", "status", b"[]")
