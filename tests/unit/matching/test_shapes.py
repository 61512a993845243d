"""Which references a notificationShape follows."""

import json

import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.shapes import Inclusion, NotificationShapes, ReverseReferences, parse_inclusion
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import NotificationShape, Topic, TopicStatus

BASES = frozenset({"https://broker.example/r4"})
CONTEXT = SearchContext(SearchParameters(), BASES)


def topic(*shapes: NotificationShape) -> Topic:
    return Topic(
        id="t",
        url="http://example.org/t",
        version="1",
        status=TopicStatus.ACTIVE,
        title=None,
        resource_triggers=(),
        event_triggers=(),
        filters=(),
        shapes=shapes,
        derived_from=(),
        document=b"{}",
        release=Release.R5,
    )


def encounter(**elements: object) -> Change:
    body = json.dumps({"resourceType": "Encounter", "id": "e1", "status": "planned", **elements}).encode()
    key = VersionKey(DEFAULT_TENANT, "Encounter", "e1", 1)
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, Resource(body)), None)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Encounter:patient", Inclusion("Encounter", "patient")),
        ("Encounter:subject:Patient", Inclusion("Encounter", "subject", "Patient")),
        ("Encounter:patient&iterate=Patient.link", Inclusion("Encounter", "patient")),
        ("Encounter:part-of:Encounter&iterate=x", Inclusion("Encounter", "part-of", "Encounter")),
        ("Encounter:*", None),
        ("*", None),
        ("Encounter", None),
        ("", None),
    ],
)
def test_an_inclusion_is_read_without_its_extra_directives(text: str, read: Inclusion | None) -> None:
    assert parse_inclusion(text) == read


def test_references_of_the_focus_are_found_in_the_order_of_the_shape_each_once() -> None:
    shapes = NotificationShapes(
        topic(
            NotificationShape("Encounter", ("Encounter:service-provider", "Encounter:patient")),
            NotificationShape("Encounter", ("Encounter:subject",)),
            NotificationShape("Observation", ("Observation:device",)),
        ),
        CONTEXT,
    )
    change = encounter(
        subject={"reference": "https://broker.example/r4/Patient/ana/_history/2"},
        serviceProvider={"reference": "Organization/ward"},
    )
    assert shapes.includes(change) == (("Organization", "ward"), ("Patient", "ana"))


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Group/g1"},
        {"reference": "#inner"},
        {"reference": "https://elsewhere.example/fhir/Patient/ana"},
        {"identifier": {"value": "7"}},
        {"reference": 7},
        "Patient/ana/",
    ],
)
def test_references_to_other_servers_or_types_are_not_included(subject: object) -> None:
    shapes = NotificationShapes(topic(NotificationShape("Encounter", ("Encounter:patient",))), CONTEXT)
    assert shapes.includes(encounter(subject=subject)) == ()


def test_a_target_type_narrows_what_is_included() -> None:
    shapes = NotificationShapes(topic(NotificationShape("Encounter", ("Encounter:subject:Group",))), CONTEXT)
    assert shapes.includes(encounter(subject={"reference": "Patient/ana"})) == ()
    assert shapes.includes(encounter(subject={"reference": "Group/g1"})) == (("Group", "g1"),)


def test_referrers_are_those_of_the_focus_type() -> None:
    shape = NotificationShape("Encounter", rev_include=("Observation:encounter", "Provenance:target:Patient"))
    assert NotificationShapes(topic(shape), CONTEXT).referrers("Encounter") == (("Observation", "encounter"),)


def test_only_references_that_a_topic_includes_are_found_at_intake() -> None:
    referring = ReverseReferences(CONTEXT)
    body = json.dumps(
        {
            "resourceType": "Observation",
            "encounter": {"reference": "Encounter/e1"},
            "subject": {"reference": "Patient/ana"},
        }
    ).encode()
    assert referring.references(Release.R4, "Observation", Resource(body)) == ()
    referring.set_topics([topic(NotificationShape("Encounter", rev_include=("Observation:encounter",)))])
    assert referring.references(Release.R4, "Observation", Resource(body)) == (("encounter", "Encounter/e1"),)
    assert referring.references(Release.R4, "Flag", Resource(body)) == ()
    referring.set_topics([])
    assert referring.references(Release.R4, "Observation", Resource(body)) == ()
