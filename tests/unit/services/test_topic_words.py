"""Topics and filters in plain words."""

from pathlib import Path

import pytest

from broker.fhir.topics import parse_topic
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter
from broker.services.topic_words import (
    filter_in_words,
    offered_filter_in_words,
    shape_in_words,
    triggers_in_words,
)

MET = "status=finished"
TOPICS = sorted((Path(__file__).parents[3] / "topics").glob("*.json"))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Filter("code", "http://loinc.org|4548-4"), "code is http://loinc.org|4548-4"),
        (
            Filter("patient", "Patient/1,Patient/2", resource_type="Observation"),
            "Observation: patient is Patient/1 or Patient/2",
        ),
        (
            Filter("value-quantity", "7", comparator=Comparator.GE),
            "value-quantity is at least 7",
        ),
        (Filter("status", "final", modifier="not"), "status is not final"),
        (Filter("subject", "true", modifier="missing"), "subject is absent"),
        (Filter("subject", "false", modifier="missing"), "subject is present"),
        (Filter("subject", "p1", modifier="Patient"), "subject refers to a Patient that is p1"),
    ],
)
def test_a_filter_in_words(wanted: Filter, words: str) -> None:
    assert filter_in_words(wanted) == words


def test_triggers_in_words() -> None:
    topic = parse_topic(
        Resource(
            b"""{"resourceType": "SubscriptionTopic", "id": "t", "url": "http://example.org/t",
            "status": "active", "resourceTrigger": [
            {"resource": "Encounter", "supportedInteraction": ["create", "update"], "queryCriteria":
             {"previous": "status:not=finished", "current": "status=finished", "requireBoth": true}},
            {"resource": "Observation", "fhirPathCriteria": "value.exists()"},
            {"resource": "Patient", "supportedInteraction": ["delete"]}],
            "eventTrigger": [{"resource": "Encounter", "event": {"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": "A01"}]}}],
            "canFilterBy": [{"resource": "Encounter", "filterParameter": "class", "modifier": ["not"]},
            {"filterParameter": "date", "comparator": ["ge", "le"]}],
            "notificationShape": [{"resource": "Encounter", "include": ["Encounter:patient"]}]}"""
        )
    )
    assert triggers_in_words(topic) == [
        f"Encounter is created or updated, and before it met status:not=finished and now it meets {MET}",
        "Observation is created, updated or deleted, and the FHIRPath holds: value.exists()",
        "Patient is deleted",
        "a producer reports the event http://terminology.hl7.org/CodeSystem/v2-0003|A01 about Encounter",
    ]
    assert [offered_filter_in_words(each) for each in topic.filters] == [
        "Encounter: class (:not)",
        "date (is at least, is at most)",
    ]
    assert [words for shape in topic.shapes for words in shape_in_words(shape)] == [
        "Encounter: includes Encounter:patient"
    ]


@pytest.mark.parametrize("path", TOPICS, ids=lambda path: path.stem)
def test_every_shipped_topic_has_words(path: Path) -> None:
    topic = parse_topic(Resource(path.read_bytes()))
    assert all(triggers_in_words(topic))
    assert all(offered_filter_in_words(each) for each in topic.filters)
