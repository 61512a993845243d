"""The extension by which a topic excludes types to which no filter of a subscription applies."""

import json
from typing import Any

import pytest

from broker.errors import Unprocessable
from broker.fhir.basic_topics import topic_of_basic
from broker.fhir.release import adapter
from broker.fhir.topics import EXCLUDE_UNFILTERED_TYPES, parse_topic
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource


def document(*extensions: dict[str, Any]) -> Resource:
    topic = {
        "resourceType": "SubscriptionTopic",
        "id": "feed",
        "url": "http://example.org/topics/feed",
        "status": "active",
        "resourceTrigger": [{"resource": "Observation"}, {"resource": "DiagnosticReport"}],
    }
    return Resource(json.dumps(topic | ({"extension": list(extensions)} if extensions else {})).encode())


@pytest.mark.parametrize(
    ("extensions", "sends"),
    [
        ((), True),
        (({"url": "http://example.org/other", "valueBoolean": True},), True),
        (({"url": EXCLUDE_UNFILTERED_TYPES, "valueBoolean": False},), True),
        (({"url": EXCLUDE_UNFILTERED_TYPES, "valueBoolean": True},), False),
    ],
)
def test_a_topic_may_exclude_unfiltered_types(extensions: tuple[dict[str, Any], ...], sends: bool) -> None:
    topic = parse_topic(document(*extensions))
    assert topic.sends_unfiltered_types is sends
    for release in (Release.R4B, Release.R5):
        assert parse_topic(adapter(release).render_topic(topic)).sends_unfiltered_types is sends


def test_the_extension_is_kept_in_the_form_of_r4() -> None:
    extension = {"url": EXCLUDE_UNFILTERED_TYPES, "valueBoolean": True}
    rendered = adapter(Release.R4).render_topic(parse_topic(document(extension)))
    validate(Release.R4, "Basic", rendered)
    assert extension in json.loads(rendered.text)["extension"]
    assert not parse_topic(topic_of_basic(rendered)).sends_unfiltered_types
    unknown = {"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Other.x", "valueCode": "y"}
    basic = json.loads(rendered.text)
    basic["extension"].append(unknown)
    with pytest.raises(Unprocessable, match="not an extension for an element"):
        topic_of_basic(Resource(json.dumps(basic).encode()))


def test_another_value_is_refused() -> None:
    with pytest.raises(Unprocessable, match="valueBoolean"):
        parse_topic(document({"url": EXCLUDE_UNFILTERED_TYPES, "valueString": "true"}))
