"""Slices: re-slices, closed and ordered slicing, discriminators by existence and type, default slices."""

import copy
from typing import Any

import pytest

from broker.model.release import Release
from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import catalog_of, definition, errors
from tests.unit.profiles.examples import Json
from tests.unit.profiles.own_definitions import all_own_examples, own_definitions

CATALOG = catalog_of(*own_definitions())
_URL = "http://example.org/StructureDefinition/p"


def found(name: str, change: Any) -> list[str | None]:
    fields = copy.deepcopy(all_own_examples()[name])
    change(fields)
    return errors(fields, CATALOG)


def test_a_re_slice_has_rules_of_its_own() -> None:
    assert found("resliced", lambda fields: None) == []
    assert found("resliced", lambda fields: fields["identifier"].pop(0)) == ["Observation.identifier"]
    assert found("resliced", lambda fields: fields["identifier"][0].pop("value")) == [
        "Observation.identifier[0].value"
    ]
    assert found("resliced", lambda fields: fields["identifier"][1].pop("period")) == [
        "Observation.identifier[1].period"
    ]
    twice = found("resliced", lambda fields: fields["identifier"].append(fields["identifier"][0]))
    assert twice == ["Observation.identifier[5]"]
    outside = found("resliced", lambda fields: fields["identifier"][2].pop("value"))
    assert outside == []


def test_closed_slicing_permits_no_other_item() -> None:
    other = {"coding": [{"system": "urn:x", "code": "other"}]}
    assert found("summary-result", lambda fields: fields["category"].append(other)) == [
        "Observation.category[2]"
    ]


def test_ordered_slices_come_in_their_order_and_before_the_rest() -> None:
    assert found("leads", lambda fields: fields["component"].insert(0, fields["component"].pop(1))) == [
        "Observation.component[1]"
    ]
    assert "Observation.component[1]" in found(
        "leads", lambda fields: fields["component"].insert(0, fields["component"].pop(2))
    )


def test_items_are_told_apart_by_the_existence_of_an_element() -> None:
    assert found("ranges", lambda fields: fields["referenceRange"][1].pop("age")) == [
        "Observation.referenceRange[1].age"
    ]
    assert found("ranges", lambda fields: fields["referenceRange"].pop(0)) == ["Observation.referenceRange"]


def test_an_extension_has_only_the_parts_of_its_definition() -> None:
    part = {"url": "colour", "valueString": "blue"}
    assert found("enrolled-patient", lambda fields: fields["extension"][0]["extension"].append(part)) == [
        "Patient.extension[0].extension[2].url"
    ]


def _profile(*elements: Json) -> Any:
    return catalog_of(definition(_URL, f"{HL7}Observation", *elements))


def _observation(**elements: Any) -> Json:
    return {
        "resourceType": "Observation",
        "meta": {"profile": [_URL]},
        "status": "final",
        "code": {"text": "x"},
        **elements,
    }


@pytest.mark.parametrize("reference", ["Practitioner/a", "http://ehr.example/Practitioner/a"])
def test_references_are_told_apart_by_the_type_of_their_target(reference: str) -> None:
    slicing = {"discriminator": [{"type": "type", "path": "resolve()"}], "rules": "open"}
    practitioner = [{"code": "Reference", "targetProfile": [f"{HL7}Practitioner"]}]
    catalog = _profile(
        {"id": "Observation.performer", "path": "Observation.performer", "slicing": slicing},
        {
            "id": "Observation.performer:who",
            "path": "Observation.performer",
            "sliceName": "who",
            "min": 1,
            "max": "1",
            "type": practitioner,
        },
    )
    other = {"reference": "Patient/p"}
    assert errors(_observation(performer=[other, {"reference": reference}]), catalog) == []
    assert errors(_observation(performer=[other]), catalog) == ["Observation.performer"]
    twice = [{"reference": reference}] * 2
    assert errors(_observation(performer=twice), catalog) == ["Observation.performer[1]"]


def test_a_default_slice_has_what_belongs_to_no_other() -> None:
    slicing = {"discriminator": [{"type": "value", "path": "system"}], "rules": "closed"}
    path = "Observation.identifier"
    catalog = _profile(
        {"id": path, "path": path, "slicing": slicing},
        {"id": f"{path}:own", "path": path, "sliceName": "own"},
        {"id": f"{path}:own.system", "path": f"{path}.system", "min": 1, "fixedUri": "urn:own"},
        {"id": f"{path}:@default", "path": path, "sliceName": "@default", "max": "1"},
        {"id": f"{path}:@default.use", "path": f"{path}.use", "min": 1},
    )
    own, other = {"system": "urn:own", "value": "1"}, {"system": "urn:o", "use": "temp", "value": "2"}
    assert errors(_observation(identifier=[own, other]), catalog) == []
    assert errors(_observation(identifier=[other, other]), catalog) == ["Observation.identifier[1]"]
    assert errors(_observation(identifier=[{"system": "urn:o"}]), catalog) == [
        "Observation.identifier[0].use"
    ]


def test_a_slice_that_cannot_be_told_apart_is_not_checked() -> None:
    slicing = {"discriminator": [{"type": "value", "path": "system"}], "rules": "open"}
    path = "Observation.identifier"
    catalog = _profile(
        {"id": path, "path": path, "slicing": slicing},
        {"id": f"{path}:any", "path": path, "sliceName": "any", "min": 3},
    )
    assert errors(_observation(), catalog) == []
    assert len(catalog.unchecked(Release.R4)) == 1
