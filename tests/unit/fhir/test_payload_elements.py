"""The elements to which a topic and a Subscription limit resources."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from broker.errors import Unprocessable
from broker.fhir.basic_topics import topic_of_basic
from broker.fhir.payload_elements import PAYLOAD_ELEMENT, element_limits, limited
from broker.fhir.related_queries import RELATED_QUERY
from broker.fhir.release import adapter
from broker.fhir.topics import parse_topic
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent
from broker.model.topic import RelatedQuery, Topic
from broker.services.content_warnings import content_warnings
from tests.subscriptions import stored_subscription

QUERY = {"url": RELATED_QUERY, "extension": [{"url": "query", "valueString": "Observation?code=x"}]}


def resource(**members: Any) -> Resource:
    return Resource(json.dumps(members).encode())


def topic(*names: object, second: Sequence[str] = ()) -> Topic:
    """A topic with the names in one shape, and others in a second one."""
    shapes = [
        {"resource": "Patient", "extension": [QUERY, *_extensions(names)]},
        {"resource": "Encounter", "include": ["Encounter:patient"], "extension": _extensions(second)},
    ]
    return parse_topic(
        resource(
            resourceType="SubscriptionTopic",
            id="limited",
            url="http://example.org/topics/limited",
            status="active",
            resourceTrigger=[{"resource": "Patient"}, {"resource": "Encounter"}],
            notificationShape=[shape for shape in shapes if shape["extension"]],
        )
    )


def _extensions(names: Sequence[object]) -> list[dict[str, Any]]:
    return [{"url": PAYLOAD_ELEMENT, "valueString": name} for name in names]


def members_of(limited_resource: Resource) -> set[str]:
    return set(json.loads(limited_resource.text)) - {"resourceType", "id", "meta"}


@pytest.mark.parametrize(
    ("wanted", "allowed", "limits"),
    [
        ((), (), {}),
        (("Patient.name",), (), {"Patient": {"name"}}),
        ((), ("Patient.name", "Patient.gender"), {"Patient": {"name", "gender"}}),
        (("Patient.name", "Patient.photo"), ("Patient.name", "Patient.gender"), {"Patient": {"name"}}),
        (("Patient.photo",), ("Patient.name",), {"Patient": set()}),
        (("Encounter.class",), ("Patient.name",), {"Patient": {"name"}, "Encounter": {"class"}}),
    ],
)
def test_what_both_name_of_a_type_is_sent(
    wanted: tuple[str, ...], allowed: tuple[str, ...], limits: dict[str, set[str]]
) -> None:
    assert element_limits(wanted, allowed) == limits


def test_where_nothing_is_left_the_mandatory_elements_are_sent_and_no_others() -> None:
    reading = resource(
        resourceType="Observation", id="o", status="final", code={"text": "x"}, note=[{"text": "cut"}]
    )
    for release in Release:
        sent = limited(reading, release, element_limits(("Observation.note",), ("Observation.subject",)))
        assert members_of(sent) == {"status", "code"}
        assert b"SUBSETTED" in sent.text
        assert limited(reading, release, element_limits((), ("Patient.name",))) is reading


def test_a_mandatory_choice_is_sent_whichever_type_it_has() -> None:
    limits = element_limits((), ("MedicationRequest.authoredOn",))
    for choice in (
        {"medicationReference": {"reference": "#m"}},
        {"medicationCodeableConcept": {"text": "x"}},
    ):
        order = resource(
            resourceType="MedicationRequest",
            id="m",
            status="active",
            intent="order",
            subject={"reference": "Patient/p"},
            note=[{"text": "cut"}],
            **choice,
        )
        assert members_of(limited(order, Release.R4, limits)) == {"status", "intent", "subject", *choice}


def test_elements_that_change_the_meaning_of_others_are_always_sent() -> None:
    order = resource(
        resourceType="MedicationRequest",
        id="m",
        status="active",
        intent="order",
        doNotPerform=True,
        subject={"reference": "Patient/p"},
        medicationReference={"reference": "Medication/m"},
    )
    limits = element_limits((), ("MedicationRequest.subject", "Patient.gender"))
    assert "doNotPerform" in members_of(limited(order, Release.R4, limits))
    link = [{"other": {"reference": "Patient/q"}, "type": "replaced-by"}]
    merged = resource(resourceType="Patient", id="p", active=False, link=link, photo=[{"title": "cut"}])
    for release in Release:
        assert members_of(limited(merged, release, limits)) == {"active", "link"}


def test_of_contained_resources_those_are_sent_that_a_sent_element_refers_to() -> None:
    """A contained resource that nothing refers to makes a resource invalid."""
    order = resource(
        resourceType="MedicationRequest",
        id="m",
        status="active",
        intent="order",
        subject={"reference": "Patient/p"},
        medicationReference={"reference": "#drug"},
        requester={"reference": "#doctor"},
        contained=[
            {"resourceType": "Organization", "id": "maker"},
            {"resourceType": "Medication", "id": "drug", "manufacturer": {"reference": "#maker"}},
            {"resourceType": "Practitioner", "id": "doctor", "name": [{"family": "cut"}]},
        ],
    )
    both = ("MedicationRequest.medicationReference", "MedicationRequest.contained")
    sent = limited(order, Release.R4, element_limits((), both))
    assert {each["id"] for each in json.loads(sent.text)["contained"]} == {"drug", "maker"}
    assert b"cut" not in sent.text
    without = limited(order, Release.R4, element_limits((), both[:1]))
    assert "contained" not in members_of(without)
    order = resource(resourceType="Patient", id="p", contained=[{"resourceType": "Organization", "id": "o"}])
    sent = limited(order, Release.R4, element_limits((), ("Patient.contained",)))
    assert members_of(sent) == set()


def test_the_names_of_all_shapes_limit_a_type() -> None:
    parsed = topic("Patient.name", "Patient.name", second=["Patient.gender", "Encounter.status"])
    assert parsed.elements == ("Patient.name", "Patient.gender", "Encounter.status")


def test_a_topic_names_the_elements_of_each_release() -> None:
    names = ("MedicationRequest.medicationReference", "MedicationRequest.medication")
    assert topic(*names).elements == names


@pytest.mark.parametrize("name", ["Patient.nmae", "Patients.name", "name", "Patient", "Patient.name.family"])
def test_a_name_that_no_release_has_is_refused(name: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        topic("Patient.name", name)
    (issue,) = refused.value.issues
    assert repr(name) in issue.text
    assert issue.expression == "SubscriptionTopic.notificationShape[0].extension[2].value"


@pytest.mark.parametrize("value", [None, 5, ""])
def test_a_value_that_is_no_name_is_refused(value: object) -> None:
    with pytest.raises(Unprocessable):
        topic(value)


def test_the_elements_pass_the_forms_of_all_releases() -> None:
    parsed = topic("Patient.name", "Patient.gender", second=["Encounter.status"])
    for release in (Release.R4B, Release.R5):
        rendered = parse_topic(adapter(release).render_topic(parsed))
        assert rendered.elements == parsed.elements
    basic = adapter(Release.R4).render_topic(parsed)
    validate(Release.R4, "Basic", basic)
    read = parse_topic(topic_of_basic(basic))
    assert read.elements == parsed.elements
    assert read.related == parsed.related == (RelatedQuery("Patient", "Observation?code=x"),)


def test_a_subscriber_is_told_what_the_topic_does_not_send() -> None:
    served = topic("Patient.name")
    subscription = stored_subscription(content=PayloadContent.FULL_RESOURCE)
    wanted = subscription.changed(elements=("Patient.name", "Patient.photo", "Encounter.status"))
    assert content_warnings(wanted, served)[-1] == "The topic does not send Patient.photo."
    assert not any("does not send" in text for text in content_warnings(subscription, served))
