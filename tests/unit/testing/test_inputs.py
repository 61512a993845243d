"""Folders of FHIR files: which resources are sent, and which folders are refused."""

import json
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.testing.inputs import read_folder

VITAL_SIGN = {
    "resourceType": "Observation",
    "category": [{"coding": [{"code": "vital-signs"}]}],
}


def test_resources_are_read_in_the_order_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(VITAL_SIGN))
    (tmp_path / "a.json").write_text('{"resourceType":  "Patient"}')
    inputs = read_folder(tmp_path)
    assert [resource.label for resource in inputs] == ["a.json", "b.json"]
    assert inputs[0].body == b'{"resourceType":  "Patient"}', "the bytes of the file"
    assert [resource.is_vital_sign for resource in inputs] == [False, True]


def test_the_resources_of_a_bundle_are_sent_without_conformance_resources(tmp_path: Path) -> None:
    entries = [{"resource": VITAL_SIGN}, {"resource": {"resourceType": "ValueSet"}}, {}]
    (tmp_path / "all.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}))
    (tmp_path / "profile.json").write_text('{"resourceType": "StructureDefinition"}')
    assert [resource.label for resource in read_folder(tmp_path)] == ["all.json[0]"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [({}, "contains no FHIR resource"), ({"a.json": "{"}, "not JSON"), ({"a.json": "[]"}, "contains no")],
)
def test_a_folder_without_resources_is_refused(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        read_folder(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_folder(tmp_path / "missing")
