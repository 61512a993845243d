"""Rows that no other test of this folder covers: topics, and all elements of a Subscription."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from broker.errors import RequestError, Unprocessable
from broker.fhir.release import adapter
from broker.fhir.topics import parse_topic
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator
from broker.model.subscription import PayloadContent, Subscription
from broker.testing.registration import BACKPORT, subscription
from tests.fhir.rows import read_back

STRUCTURES = "http://hl7.org/fhir/StructureDefinition/"
TOPIC = {"resourceType": "SubscriptionTopic", "id": "t", "url": "http://example.org/t", "status": "active"}
HISTORY = [Release.R4, Release.R4B]
Document = dict[str, Any]


def parse(release: Release, document: Document) -> Subscription:
    body = orjson.dumps(document)
    return adapter(release).parse_subscription(Resource(body), tenant=DEFAULT_TENANT, id="s1")


def refused_at(release: Release, document: Document) -> list[str | None]:
    """The places of what is wrong."""
    with pytest.raises(Unprocessable) as caught:
        parse(release, document)
    return [issue.expression for issue in caught.value.issues]


def draft(release: Release, **more: Any) -> Document:
    return subscription(release, "http://example.org/t", "https://example.org/hook", **more)


@pytest.mark.parametrize("missing", ["url", "status"])
def test_r_010_a_topic_needs_its_url_and_its_status(missing: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        parse_topic(Resource(orjson.dumps({name: value for name, value in TOPIC.items() if name != missing})))
    assert any(missing in (issue.expression or "") for issue in caught.value.issues)


def test_r_010_r_012_a_topic_without_triggers_is_read_and_its_status_must_be_valid() -> None:
    topic = parse_topic(Resource(orjson.dumps(TOPIC)))
    assert (topic.focus_types, topic.filters, topic.shapes) == (frozenset(), (), ())
    with pytest.raises(Unprocessable):
        parse_topic(Resource(orjson.dumps(TOPIC | {"status": "asleep"})))


METADATA = {
    "version": "2.0",
    "title": "T",
    "derivedFrom": ["http://example.org/parent"],
    "experimental": True,
    "date": "2025-01-01",
    "publisher": "P",
    "contact": [{"name": "C"}],
    "description": "d",
    "useContext": [{"code": {"code": "focus"}, "valueCodeableConcept": {"text": "x"}}],
    "jurisdiction": [{"text": "here"}],
    "purpose": "p",
    "copyright": "c",
    "approvalDate": "2025-01-01",
    "lastReviewDate": "2025-01-02",
    "effectivePeriod": {"start": "2025-01-01"},
    "identifier": [{"system": "urn:x", "value": "1"}],
}


def test_r_011_every_release_shows_the_metadata_of_a_topic_that_it_has() -> None:
    only_r5 = {"name": "T", "versionAlgorithmString": "semver", "copyrightLabel": "me"}
    topic = parse_topic(Resource(orjson.dumps(TOPIC | METADATA | only_r5)))
    assert topic.canonical == "http://example.org/t|2.0"
    in_r5, in_r4b = (
        orjson.loads(adapter(release).render_topic(topic).text) for release in (Release.R5, Release.R4B)
    )
    assert {name: in_r5[name] for name in METADATA | only_r5} == METADATA | only_r5
    assert {name: in_r4b[name] for name in METADATA} == METADATA
    assert not set(only_r5) & set(in_r4b)


@pytest.mark.parametrize("written", ["Observation", f"{STRUCTURES}Observation"])
def test_r_020_r_060_a_type_may_be_written_by_name_or_by_the_url_of_its_definition(written: str) -> None:
    topic = parse_topic(
        Resource(
            orjson.dumps(
                TOPIC
                | {
                    "resourceTrigger": [{"resource": written}],
                    "canFilterBy": [{"resource": written, "filterParameter": "patient.gender"}],
                    "notificationShape": [{"resource": written, "include": ["Observation:patient"]}],
                }
            )
        )
    )
    (trigger,), (offer,), (shape,) = topic.resource_triggers, topic.filters, topic.shapes
    assert {trigger.resource, offer.resource, shape.resource} == {"Observation"}
    assert trigger.interactions == frozenset(Interaction), "R-022"


def test_r_062_the_modifiers_of_r4b_are_split_into_comparators_and_modifiers_and_come_back() -> None:
    offered = {"filterParameter": "date", "modifier": ["=", "gt", "le", "not-in", "below"]}
    topic = parse_topic(
        Resource(
            orjson.dumps(TOPIC | {"resourceTrigger": [{"resource": "Encounter"}], "canFilterBy": [offered]})
        )
    )
    assert topic.release is Release.R4B
    (definition,) = topic.filters
    assert definition.comparators == {Comparator.GT, Comparator.LE}
    assert definition.modifiers == {"not-in", "below"}
    native = orjson.loads(adapter(Release.R5).render_topic(topic).text)["canFilterBy"][0]
    assert (native["comparator"], native["modifier"]) == (["gt", "le"], ["not-in", "below"])


@pytest.mark.parametrize(
    "offer",
    [
        {"filterParameter": "date", "comparator": ["within"]},
        {"filterParameter": "date", "modifier": ["nearly"]},
        {"description": "nameless"},
    ],
    ids=["comparator", "modifier", "no parameter"],
)
def test_r_060_r_061_a_filter_definition_needs_a_parameter_and_valid_codes(offer: Document) -> None:
    triggers = [{"resource": "Encounter"}]
    with pytest.raises(RequestError):
        parse_topic(Resource(orjson.dumps(TOPIC | {"resourceTrigger": triggers, "canFilterBy": [offer]})))


def test_r_101_to_r_111_every_element_of_r5_comes_back_as_it_was_sent() -> None:
    document = draft(Release.R5, filters=["patient=Patient/1"], max_count=5, heartbeat_s=60, timeout_s=9) | {
        "identifier": [{"system": "urn:x", "value": "1"}],
        "name": "N",
        "contact": [{"system": "phone", "value": "1", "extension": [{"url": "urn:e", "valueCode": "c"}]}],
        "reason": "why",
        "_reason": {"extension": [{"url": "urn:e", "valueString": "kept"}]},
        "managingEntity": {"reference": "Organization/o1"},
        "parameter": [{"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}],
        "end": "2100-01-01T00:00:00+01:00",
        "extension": [{"url": "urn:unknown", "valueDecimal": 1.50}],
    }
    parsed = parse(Release.R5, document)
    rendered = adapter(Release.R5).render_subscription(parsed)
    read_back(Release.R5, rendered.text)
    assert orjson.loads(rendered.text).items() >= document.items()
    assert parsed.channel.headers == (("X-A", "1"), ("X-A", "2")), "R-107"
    assert (parsed.name, parsed.reason) == ("N", "why")


@pytest.mark.parametrize("missing", ["status", "topic", "channelType"])
def test_r_100_the_three_required_elements_of_r5(missing: str) -> None:
    document = draft(Release.R5)
    del document[missing]
    assert f"Subscription.{missing}" in refused_at(Release.R5, document)


@pytest.mark.parametrize("release", HISTORY)
def test_r_122_to_r_128_each_extension_of_the_backport_is_read_from_its_place(release: Release) -> None:
    settings = {"max_count": 5, "heartbeat_s": 60, "timeout_s": 9}
    filters = ["Observation?patient=Patient/1", "code=8867-4"]
    parsed = parse(
        release,
        draft(release, content="full-resource", filters=filters, headers=[("X-A", "b: c")], **settings),
    )
    channel = parsed.channel
    assert (channel.max_count, channel.heartbeat_s, channel.timeout_s) == (5, 60, 9)
    assert channel.content is PayloadContent.FULL_RESOURCE
    assert channel.headers == (("X-A", "b: c"),)
    assert [(each.parameter, each.value) for each in parsed.filters] == [
        ("patient", "Patient/1"),
        ("code", "8867-4"),
    ]


def _on(*path: str, url: str, **value: Any) -> Callable[[Document], None]:
    def add(document: Document) -> None:
        for name in path:
            document = document.setdefault(name, {})
        document.setdefault("extension", []).append({"url": url, **value})

    return add


# unknown here, given up long ago, or at another place than the profile's
MISPLACED: Mapping[str, Callable[[Document], None]] = {
    "Subscription.channel.extension[0]": _on(
        "channel", url=f"{BACKPORT}backport-channel-type", valueString="rest-hook"
    ),
    "Subscription.channel.payload.extension[1]": _on(
        "channel", "_payload", url=f"{BACKPORT}backport-heartbeat-period", valueUnsignedInt=60
    ),
    "Subscription.channel.type.extension[0]": _on(
        "channel", "_type", url="http://hl7.org/fhir/5.0/StructureDefinition/x", valueString="y"
    ),
    "Subscription.criteria.extension[0]": _on(
        "_criteria", url=f"{BACKPORT}backport-notification-url-location", valueCode="full-url"
    ),
}


@pytest.mark.parametrize("release", HISTORY)
@pytest.mark.parametrize("place", MISPLACED)
def test_r_132_an_extension_that_is_unknown_at_its_place_is_refused(release: Release, place: str) -> None:
    document = draft(release)
    MISPLACED[place](document)
    assert [str(element).rpartition(".")[0] for element in refused_at(release, document)] == [place]


@pytest.mark.parametrize("release", HISTORY)
def test_r_081_the_identifier_of_r5_may_stand_at_the_root_and_comes_back(release: Release) -> None:
    identifier = {
        "url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription.identifier",
        "valueIdentifier": {"system": "urn:x", "value": "1"},
    }
    parsed = parse(release, draft(release) | {"extension": [identifier]})
    assert orjson.loads(adapter(release).render_subscription(parsed).text)["extension"] == [identifier]


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("beyond", [{"max_count": 1_001}, {"heartbeat_s": 604_801}, {"timeout_s": 61}])
def test_r_180_a_setting_beyond_its_limit_is_refused_and_not_changed(
    release: Release, beyond: dict[str, int]
) -> None:
    assert len(refused_at(release, draft(release, **beyond))) == 1
    within = {name: value - 1 for name, value in beyond.items()}
    assert parse(release, draft(release, **within)).topic == "http://example.org/t"


@pytest.mark.parametrize("release", Release)
def test_r_159_an_end_is_an_instant_with_an_offset(release: Release) -> None:
    for end in ("2100-01-01T00:00:00", "2100-01-01", "soon"):
        with pytest.raises(RequestError):
            parse(release, draft(release) | {"end": end})
    assert parse(release, draft(release) | {"end": "2100-01-01T00:00:00Z"}).end_ms == 4_102_444_800_000
