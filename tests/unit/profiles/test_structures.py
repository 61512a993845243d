"""Resources within others, targets that are at hand, extensions and their places, profiles of datatypes, and
imposed profiles: each fault is refused at the element that has it.
"""

import copy
from typing import Any

import pytest

from broker.model.release import Release
from broker.profiles.vital_signs import HL7
from tests.unit.profiles.catalogs import catalog_of, definition, errors, issues_of
from tests.unit.profiles.examples import Json
from tests.unit.profiles.own_definitions import all_own_examples, own_definitions
from tests.unit.profiles.own_profiles import (
    OWN,
    RESULT,
    element,
    extension_definition,
    slicing,
)
from tests.unit.profiles.own_structures import APPROVAL, IMPOSE, SPELLING

CATALOG = catalog_of(*own_definitions())


def found(name: str, change: Any) -> list[str | None]:
    fields = copy.deepcopy(all_own_examples()[name])
    change(fields)
    return errors(fields, CATALOG)


def resource(bundle: Json, number: int) -> Json:
    entry: Json = bundle["entry"][number]["resource"]
    return entry


def test_a_slice_of_a_base_profile_is_resliced_over_three_levels() -> None:
    def main(fields: Json) -> Json:
        identifier: Json = fields["identifier"][0]
        return identifier

    assert found("level-three", lambda fields: main(fields).pop("period")) == [
        "Observation.identifier[0].period"
    ]
    assert found("level-three", lambda fields: main(fields).update(use="temp")) == ["Observation.identifier"]
    assert found("level-three", lambda fields: fields["identifier"][1].pop("value")) == [
        "Observation.identifier[1].value"
    ]
    assert found("level-three", lambda fields: fields["identifier"][2].pop("value")) == []
    assert found("level-three", lambda fields: fields.update(issued="2026-03-01T08:00:00Z")) == [
        "Observation.issued"
    ]


def test_parts_are_told_apart_by_the_type_of_their_value() -> None:
    assert found("typed-parts", lambda fields: fields["component"][0].pop("interpretation")) == [
        "Observation.component[0].interpretation"
    ]
    text = {"code": {"text": "note"}, "valueString": "x"}
    assert found("typed-parts", lambda fields: fields["component"].append(text)) == [
        "Observation.component[2]"
    ]


def test_a_contained_target_meets_the_profile_of_the_reference() -> None:
    assert found("contained-device", lambda fields: fields["contained"][0].pop("serialNumber")) == [
        "Observation.device"
    ]
    elsewhere = {"device": {"reference": "Device/oximeter"}}
    outside = found("contained-device", lambda fields: (fields.pop("contained"), fields.update(elsewhere)))
    assert outside == ["Observation.device"]


def test_references_are_told_apart_by_the_profile_of_their_target() -> None:
    assert "Observation.derivedFrom" in found(
        "sorted-sources", lambda fields: fields["contained"][0].pop("subject")
    )


def test_the_entries_of_a_document_have_their_types_and_profiles() -> None:
    assert found("report-document", lambda fields: resource(fields, 1).pop("telecom")) == [
        "Bundle.entry[1].resource"
    ]
    device = {"fullUrl": "urn:uuid:0", "resource": {"resourceType": "Device"}}
    assert found("report-document", lambda fields: fields["entry"].append(device)) == ["Bundle.entry[3]"]
    head = found("report-document", lambda fields: resource(fields, 0)["section"][0].pop("entry"))
    assert head[0] == "Bundle.entry[0].resource.section[0].entry"
    unresolved = found("report-document", lambda fields: resource(fields, 2).pop("category"))
    assert "Bundle.entry[0].resource.section[0].entry" in unresolved


def test_the_profile_that_a_resource_within_another_declares_is_checked() -> None:
    inner = {"resourceType": "Patient", "id": "p", "meta": {"profile": [f"{OWN}reachable-patient"]}}
    outer = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "contained": [inner]}
    outer["subject"] = {"reference": "#p"}
    assert errors(outer, CATALOG) == ["Observation.contained[0]"]
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "a", "part": [{"name": "b"}]}]}
    parameters["parameter"][0]["part"][0]["resource"] = inner  # type: ignore[index]  # a literal of mixed values
    assert errors(parameters, CATALOG) == ["Parameters.parameter[0].part[0].resource"]


def test_extensions_of_primitive_values_are_checked() -> None:
    def name(fields: Json) -> Json:
        first: Json = fields["name"][0]
        return first

    assert found("spelled-patient", lambda fields: name(fields).pop("_family")) == [
        "Patient.name[0].family.extension"
    ]
    approved = {"extension": [{"url": APPROVAL, "valueBoolean": True}]}
    assert "Patient.birthDate.extension" in found(
        "spelled-patient", lambda fields: fields.update(_birthDate=approved)
    )


def test_an_extension_is_only_where_its_definition_permits_it() -> None:
    spelling = {"url": SPELLING, "valueString": "x"}
    assert found("spelled-patient", lambda fields: fields["extension"].append(spelling)) == [
        "Patient.extension[1]"
    ]
    assert found("spelled-patient", lambda fields: fields.update(modifierExtension=fields["extension"])) == [
        "Patient.modifierExtension[0]"
    ]


@pytest.mark.parametrize(
    ("expression", "is_permitted"),
    [
        ("Element", True),
        ("Quantity", True),
        ("Observation.value[x]", True),
        ("Observation.component.value", True),
        ("DomainResource", False),
        ("Observation.component", False),
        ("string", False),
    ],
)
def test_places_are_named_by_the_resource_and_by_each_type_on_the_way(
    expression: str, is_permitted: bool
) -> None:
    url = f"{OWN}note"
    value = element("Extension.value[x]", type=[{"code": "string"}])
    catalog = catalog_of(extension_definition(url, [], value, expression=expression))
    amount = {"value": 1, "extension": [{"url": url, "valueString": "x"}]}
    fields: Json = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "component": [{"code": {"text": "y"}, "valueQuantity": amount}],
    }
    if expression == "Observation.value[x]":
        fields["valueQuantity"] = fields.pop("component")[0]["valueQuantity"]
    assert (errors(fields, catalog) == []) is is_permitted


def test_an_imposed_profile_is_checked_also_if_two_impose_each_other() -> None:
    assert found("spelled-patient", lambda fields: fields.pop("telecom")) == ["Patient"]
    one, other = f"{OWN}one", f"{OWN}other"
    catalog = catalog_of(
        *(
            definition(
                url,
                f"{HL7}Patient",
                element(f"Patient.{required}", min=1),
                type="Patient",
                extension=[{"url": IMPOSE, "valueCanonical": imposed}],
            )
            for url, imposed, required in ((one, other, "name"), (other, one, "gender"))
        )
    )
    fields = {"resourceType": "Patient", "meta": {"profile": [one]}}
    assert errors(fields, catalog) == ["Patient.name", "Patient.gender"]


def test_a_maximum_value_set_and_an_additional_binding_are_required() -> None:
    other = {"coding": [{"system": RESULT, "code": "peak"}]}
    assert found("bounded-result", lambda fields: fields.update(code=other)) == ["Observation.code"]
    codes = f"{OWN}codes"
    binding = {
        "strength": "example",
        "additional": [
            {"purpose": "required", "valueSet": codes},
            {"purpose": "candidate", "valueSet": f"{OWN}unknown"},
        ],
    }
    profile = definition(
        f"{OWN}p", f"{HL7}Observation", element("Observation.code", binding=binding), fhirVersion="5.0.0"
    )
    concept = {"system": RESULT, "concept": [{"code": "reading"}]}
    value_set = {"resourceType": "ValueSet", "url": codes, "compose": {"include": [concept]}}
    fields = {"resourceType": "Observation", "status": "final", "code": other}
    fields["meta"] = {"profile": [f"{OWN}p"]}
    (issue,) = issues_of(fields, catalog_of(profile, value_set), release=Release.R5)
    assert issue.expression == "Observation.code"


def test_resources_of_a_bundle_that_refer_to_each_other_are_checked_once() -> None:
    patient, observation = f"{OWN}linked-patient", f"{OWN}linked-observation"
    catalog = catalog_of(
        definition(
            patient,
            f"{HL7}Patient",
            element("Patient.link.other", type=[{"code": "Reference", "targetProfile": [patient]}]),
            element("Patient.name", min=1),
            type="Patient",
        ),
        definition(
            observation,
            f"{HL7}Observation",
            element("Observation.subject", type=[{"code": "Reference", "targetProfile": [patient]}]),
        ),
    )
    link = [{"other": {"reference": "urn:uuid:a"}, "type": "seealso"}]
    person: Json = {"resourceType": "Patient", "name": [{"text": "Ana"}], "link": link}
    reading = {
        "resourceType": "Observation",
        "meta": {"profile": [observation]},
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "urn:uuid:a"},
    }
    entries = [
        {"fullUrl": f"urn:uuid:{name}", "resource": each} for name, each in (("a", person), ("b", reading))
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    assert errors(bundle, catalog) == []
    del person["name"]
    assert errors(bundle, catalog) == ["Bundle.entry[1].resource.subject"]


def test_profiles_whose_slices_refer_to_each_other_are_compiled() -> None:
    urls = [f"{OWN}first", f"{OWN}second"]

    def linked(url: str, other: str) -> Json:
        path = "Observation.derivedFrom"
        target = [{"code": "Reference", "targetProfile": [other]}]
        return definition(
            url,
            f"{HL7}Observation",
            element(path, slicing=slicing("pattern", "resolve().code")),
            element(f"{path}:one", min=1, type=target),
            element("Observation.code", patternCodeableConcept={"text": url[-6:]}),
        )

    catalog = catalog_of(linked(*urls), linked(*reversed(urls)))
    assert all(catalog.find(Release.R4, url) is not None for url in urls)


def test_a_type_that_is_permitted_without_a_profile_needs_to_meet_none() -> None:
    url = f"{OWN}coded-concept"
    types = [{"code": "CodeableConcept", "profile": [url, f"{HL7}CodeableConcept"]}]
    catalog = catalog_of(
        *own_definitions(),
        definition(f"{OWN}q", f"{HL7}Observation", element("Observation.code", type=types)),
    )
    fields = {"resourceType": "Observation", "meta": {"profile": [f"{OWN}q"]}, "status": "final"}
    assert errors(fields | {"code": {"text": "x"}}, catalog) == []


def test_the_url_of_an_extension_is_absolute() -> None:
    fields = {"resourceType": "Patient", "extension": [{"url": "site", "valueString": "x"}]}
    assert errors(fields) == ["Patient.extension[0].url"]
