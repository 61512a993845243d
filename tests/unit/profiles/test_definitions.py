"""Definitions as they are read: packages, folders, versions, value sets, and what is wrong with them."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from broker.errors import ConfigurationError, Unprocessable
from broker.model.release import Release
from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import catalog_in, catalog_of, definition, errors, issues_of
from tests.unit.profiles.examples import Json, examples, resource_of

_URL = "http://example.org/StructureDefinition/p"


def _element(element_id: str, **rules: object) -> Json:
    return {"id": element_id, "path": element_id, **rules}


def _seated(version: str = "1.0.0") -> Json:
    return definition(_URL, f"{HL7}heartrate", _element("Observation.bodySite", min=1), version=version)


def _package(path: Path, **files: Json) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            text = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}.json")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))


def test_packages_and_folders_are_read(tmp_path: Path) -> None:
    _package(tmp_path / "own#1.0.0.tgz", seated=_seated(), other={"resourceType": "Patient"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "list.json").write_text("[1, 2]")
    fields = examples()["heartrate"]
    fields["meta"]["profile"] = [f"{_URL}|1.0"]
    assert errors(fields, catalog_in(tmp_path)) == ["Observation.bodySite"]
    fields["meta"]["profile"] = [f"{_URL}|2.0.0"]
    (issue,) = issues_of(fields, catalog_in(tmp_path))
    assert (issue.severity, issue.expression) == ("warning", "Observation.meta.profile[0]")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"broken\.json"):
        catalog_in(tmp_path)
    (tmp_path / "broken.json").rename(tmp_path / "broken.tgz")
    with pytest.raises(ConfigurationError, match=r"broken\.tgz"):
        catalog_in(tmp_path)
    with pytest.raises(ConfigurationError, match="BROKER_PROFILES_DIR"):
        catalog_in(tmp_path / "none")


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ([_element("Observation.colour", min=1)], "has no element colour"),
        ([_element("Patient.name", min=1)], "is not an element of Observation"),
        ([_element("Observation.code", min=-1)], "min"),
        ([_element("Observation.code", max="many")], "max"),
        ([{"min": 1}], "without id and path"),
    ],
)
def test_a_profile_that_is_not_sound_refuses_no_resource(elements: list[Json], reason: str) -> None:
    catalog = catalog_of(definition(_URL, f"{HL7}Observation", *elements))
    fields = examples()["heartrate"]
    fields["meta"]["profile"] = [_URL]
    assert errors(fields, catalog) == []
    with pytest.raises(Unprocessable, match=reason):
        catalog.validate(Release.R4, resource_of(examples()["heartrate"]), [_URL])


def test_a_circle_of_bases_and_an_unknown_base_are_not_sound() -> None:
    other = "http://example.org/StructureDefinition/q"
    catalog = catalog_of(definition(_URL, other), definition(other, _URL))
    assert catalog.find(Release.R4, _URL) is None
    assert catalog_of(definition(_URL, other)).find(Release.R4, _URL) is None


def test_a_definition_is_for_its_release() -> None:
    for version, releases in (("4.0.1", 2), ("4.3.0", 2), ("5.0.0", 1)):
        catalog = catalog_of(definition(_URL, f"{HL7}Observation", fhirVersion=version))
        assert sum(catalog.find(release, _URL) is not None for release in Release) == releases


@pytest.mark.parametrize(
    ("compose", "is_known"),
    [
        ({"include": [{"system": "urn:s", "concept": [{"code": "a"}]}]}, True),
        ({"include": [{"system": "urn:s"}]}, True),
        (
            {
                "include": [
                    {"system": "urn:s", "filter": [{"property": "concept", "op": "is-a", "value": "a"}]}
                ]
            },
            True,
        ),
        (
            {"include": [{"system": "urn:s"}], "exclude": [{"system": "urn:s", "concept": [{"code": "b"}]}]},
            True,
        ),
        ({"include": [{"valueSet": ["urn:other"]}]}, True),
        ({"include": [{"system": "urn:unknown"}]}, False),
        ({"include": [{"system": "urn:s", "filter": [{"property": "x", "op": "=", "value": "y"}]}]}, False),
        ({"include": [{"valueSet": ["urn:vs"]}]}, False),
    ],
)
def test_a_required_binding_is_checked_if_the_codes_are_at_hand(compose: Json, is_known: bool) -> None:
    system = {
        "resourceType": "CodeSystem",
        "url": "urn:s",
        "content": "complete",
        "concept": [{"code": "a", "concept": [{"code": "c"}]}, {"code": "b"}],
    }
    other = {
        "resourceType": "ValueSet",
        "url": "urn:other",
        "expansion": {"contains": [{"system": "urn:s", "code": "a"}]},
    }
    value_set = {"resourceType": "ValueSet", "url": "urn:vs", "compose": compose}
    binding = {"strength": "required", "valueSet": "urn:vs"}
    profile = definition(_URL, f"{HL7}Observation", _element("Observation.code", binding=binding))
    catalog = catalog_of(profile, system, other, value_set)
    fields = examples()["heartrate"]
    fields["meta"]["profile"] = [_URL]
    fields["code"]["coding"].append({"system": "urn:s", "code": "a"})
    assert errors(fields, catalog) == []
    fields["code"]["coding"][1]["code"] = "z"
    assert errors(fields, catalog) == (["Observation.code"] if is_known else [])
    assert bool(catalog.unchecked(Release.R4)) != is_known


def test_an_invariant_is_evaluated_or_reported_as_not_checked() -> None:
    def rule(key: str, expression: str) -> Json:
        return {"key": key, "severity": "error", "human": "a note is there", "expression": expression}

    rules = [rule("p-1", "note.exists()"), rule("p-2", "repeat(code).exists()"), rule("vs-2", "false")]
    catalog = catalog_of(definition(_URL, f"{HL7}Observation", _element("Observation", constraint=rules)))
    fields = examples()["heartrate"]
    fields["meta"]["profile"] = [_URL]
    texts = [issue.text for issue in issues_of(fields, catalog)]
    assert [("(p-1)" in text, "(vs-2)" in text) for text in texts] == [(True, False), (False, True)]
    (unchecked,) = catalog.unchecked(Release.R4)
    assert "p-2" in unchecked
