"""The topics for EHR context send what a device needs of a person, and no more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.fhir.payload_elements import element_limits
from broker.fhir.search_parameters import SearchParameters
from broker.fhir.summaries import known_elements
from broker.fhir.topics import parse_topic
from broker.matching.references import reference_targets
from broker.matching.shapes import parse_inclusion
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import Topic

TOPICS = Path(__file__).parents[2] / "topics"
PARAMETERS = SearchParameters()
FOCI = {
    "patient-demographics": "Patient",
    "practitioner": "Practitioner",
    "practitioner-role": "PractitionerRole",
    "care-team": "CareTeam",
    "medication-request": "MedicationRequest",
    "care-plan": "CarePlan",
    "appointment": "Appointment",
}
PERSONAL = {"Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "CareTeam"}
PRIVATE = {
    *("address", "telecom", "photo", "contact", "text", "note", "maritalStatus", "communication"),
    *("reasonCode", "reasonReference", "reason", "comment", "description", "supportingInformation"),
    *("supportingInfo", "insurance", "extension"),
}


def included_types(topic: Topic) -> Iterator[str]:
    """The types of the resources that the topic includes, in any release."""
    for shape in topic.shapes:
        for text in shape.include:
            inclusion = parse_inclusion(text)
            assert inclusion is not None
            for release in Release:
                parameter = PARAMETERS.find(release, inclusion.source, inclusion.parameter)
                if parameter is not None:
                    yield from reference_targets(parameter)


@pytest.mark.parametrize("name", FOCI)
def test_the_focus_and_the_people_that_come_with_it_are_limited(name: str) -> None:
    topic = parse_topic(Resource((TOPICS / f"{name}.json").read_bytes()))
    assert topic.focus_types == {FOCI[name]}
    limits = element_limits((), topic.elements)
    assert limits.keys() >= topic.focus_types | (PERSONAL & set(included_types(topic)))
    for resource_type, elements in limits.items():
        assert not elements & PRIVATE, resource_type
        for release in Release:
            assert elements & set(known_elements(release, resource_type)), (resource_type, release)
