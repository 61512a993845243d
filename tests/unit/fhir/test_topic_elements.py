"""Locations in topics become element paths."""

import pytest

from broker.fhir.topic_elements import topic_element
from broker.model.topic import CriteriaKind, TopicLocation, TopicPart


@pytest.mark.parametrize(
    ("location", "element"),
    [
        (TopicLocation(TopicPart.RESOURCE_TRIGGER, 1), "resourceTrigger[1]"),
        (
            TopicLocation(TopicPart.RESOURCE_TRIGGER, 0, CriteriaKind.QUERY),
            "resourceTrigger[0].queryCriteria",
        ),
        (
            TopicLocation(TopicPart.RESOURCE_TRIGGER, 0, CriteriaKind.FHIRPATH),
            "resourceTrigger[0].fhirPathCriteria",
        ),
        (TopicLocation(TopicPart.EVENT_TRIGGER, 2), "eventTrigger[2]"),
        (TopicLocation(TopicPart.FILTER_DEFINITION, 3), "canFilterBy[3]"),
    ],
)
def test_a_location_has_the_element_path_of_its_part(location: TopicLocation, element: str) -> None:
    assert topic_element(location) == element
