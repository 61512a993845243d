"""Rows of the specification that no other test of this folder shows: topics, all elements of a Subscription,
and the published examples.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
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
from broker.testing.notifications import ReceivedNotification, read_notification
from broker.testing.registration import BACKPORT, subscription
from tests.fhir import rows
from tests.fhir.rows import Sent, read_back

NOW = 1_500_000_000_000
EXAMPLES = Path(__file__).parents[3] / "shared" / "spec" / "examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the published examples are not beside this checkout"
)
STRUCTURES = "http://hl7.org/fhir/StructureDefinition/"
TOPIC = {"resourceType": "SubscriptionTopic", "id": "t", "url": "http://example.org/t", "status": "active"}
HISTORY = [Release.R4, Release.R4B]
Document = dict[str, Any]


def parse(release: Release, document: Document) -> Subscription:
    body = orjson.dumps(document)
    return adapter(release).parse_subscription(Resource(body), tenant=DEFAULT_TENANT, id="s1", now_ms=NOW)


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
    native, before = (
        orjson.loads(adapter(one).render_topic(topic).text) for one in (Release.R5, Release.R4B)
    )
    assert {name: native[name] for name in METADATA | only_r5} == METADATA | only_r5
    assert {name: before[name] for name in METADATA} == METADATA
    assert not set(only_r5) & set(before)


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
    (one,) = topic.filters
    assert one.comparators == {Comparator.GT, Comparator.LE}
    assert one.modifiers == {"not-in", "below"}
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
    one = parse(Release.R5, document)
    rendered = adapter(Release.R5).render_subscription(one)
    read_back(Release.R5, rendered.text)
    assert orjson.loads(rendered.text).items() >= document.items()
    assert one.channel.headers == (("X-A", "1"), ("X-A", "2")), "R-107"
    assert (one.name, one.reason) == ("N", "why")


@pytest.mark.parametrize("missing", ["status", "topic", "channelType"])
def test_r_100_the_three_required_elements_of_r5(missing: str) -> None:
    document = draft(Release.R5)
    del document[missing]
    assert f"Subscription.{missing}" in refused_at(Release.R5, document)


@pytest.mark.parametrize("release", HISTORY)
def test_r_122_to_r_128_each_extension_of_the_backport_is_read_from_its_place(release: Release) -> None:
    settings = {"max_count": 5, "heartbeat_s": 60, "timeout_s": 9}
    filters = ["Observation?patient=Patient/1", "code=8867-4"]
    one = parse(
        release,
        draft(release, content="full-resource", filters=filters, headers=[("X-A", "b: c")], **settings),
    )
    channel = one.channel
    assert (channel.max_count, channel.heartbeat_s, channel.timeout_s) == (5, 60, 9)
    assert channel.content is PayloadContent.FULL_RESOURCE
    assert channel.headers == (("X-A", "b: c"),)
    assert [(each.parameter, each.value) for each in one.filters] == [
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
    assert [str(one).rpartition(".")[0] for one in refused_at(release, document)] == [place]


@pytest.mark.parametrize("release", HISTORY)
def test_r_081_the_identifier_of_r5_may_stand_at_the_root_and_comes_back(release: Release) -> None:
    identifier = {
        "url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription.identifier",
        "valueIdentifier": {"system": "urn:x", "value": "1"},
    }
    one = parse(release, draft(release) | {"extension": [identifier]})
    assert orjson.loads(adapter(release).render_subscription(one).text)["extension"] == [identifier]


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("beyond", [{"max_count": 1_001}, {"heartbeat_s": 604_801}, {"timeout_s": 61}])
def test_r_180_a_setting_beyond_its_limit_is_refused_and_not_changed(
    release: Release, beyond: dict[str, int]
) -> None:
    assert len(refused_at(release, draft(release, **beyond))) == 1
    within = {name: value - 1 for name, value in beyond.items()}
    assert parse(release, draft(release, **within)).topic == "http://example.org/t"


@pytest.mark.parametrize("release", Release)
def test_r_159_an_end_needs_an_offset_and_must_be_in_the_future(release: Release) -> None:
    for end in ("2001-01-01T00:00:00Z", "2100-01-01T00:00:00", "2100-01-01", "soon"):
        with pytest.raises(RequestError):
            parse(release, draft(release) | {"end": end})
    assert parse(release, draft(release) | {"end": "2100-01-01T00:00:00Z"}).end_ms == 4_102_444_800_000


def _example(name: str) -> Document:
    loaded: Document = orjson.loads((EXAMPLES / f"{name}.json").read_bytes())
    return loaded


def _release_of(name: str) -> Release:
    return Release(name.partition("-")[0])


def _names(kind: str) -> list[str]:
    """The examples of that resource type, by file name."""
    names = sorted(path.stem for path in EXAMPLES.glob("r*.json"))
    return [name for name in names if _example(name)["resourceType"] == kind]


# the subscription is a string there, where the profile wants a Reference
NO_REFERENCE = {"r4-notification-handshake-candle", "r4-notification-id-only-candle"}
# no request or no response on an entry of a history Bundle
NO_REQUEST = NO_REFERENCE | {
    "r4-notification-empty-NONCONFORMANT-inferno",
    "r4b-notification-handshake-candle",
}


def _notification(name: str) -> bytes:
    """The notification Bundle of an example; of a message, the one it carries (R-340)."""
    body = (EXAMPLES / f"{name}.json").read_bytes()
    bundle = orjson.loads(body)
    return orjson.dumps(bundle["entry"][1]["resource"]) if bundle["type"] == "message" else body


def _told(name: str) -> ReceivedNotification | None:
    try:
        return read_notification(_notification(name))
    except (KeyError, ValueError, TypeError):
        return None


def _lacks_request(name: str) -> bool:
    """Whether R-203 is broken, as the check of our own notifications sees it."""
    body = _notification(name)
    sent = Sent(body, _release_of(name), PayloadContent.ID_ONLY, "", "", "")
    try:
        rows.r_203_r_207_request_and_response(sent)
    except AssertionError:
        return True
    return False


@needs_examples
def test_every_published_notification_is_read_and_those_that_break_a_rule_are_found() -> None:
    names = [name for name in _names("Bundle") if "notification" in name]
    assert len(names) >= 40
    told = {name: _told(name) for name in names}
    assert {name for name, one in told.items() if one is None} == NO_REFERENCE
    for name, one in told.items():
        if one is None:
            continue
        expected = "subscription-notification" if name.startswith("r5") else "history"
        assert one.bundle_type == expected, name
        assert one.type in rows._TYPES, name
        assert "/" in one.subscription, name
        has_events = one.type in {"event-notification", "query-event"}
        assert bool(one.events) is has_events, name
        assert all(event.number > 0 for event in one.events), "R-221: strings and bare numbers are read"
        is_empty = "empty" in name or name == "r5-notification-error"
        assert all(bool(event.focus) is not is_empty for event in one.events), "R-240"
        if not is_empty and "id-only" not in name and one.type == "event-notification":
            assert one.resources, "R-243"
    assert {name for name in names if not name.startswith("r5") and _lacks_request(name)} == NO_REQUEST


# what a client may not submit: the status of an answer, an end that has passed
ANSWERED = {"status": "requested", "end": None}


@needs_examples
def test_every_published_subscription_and_topic_is_read_and_written_in_every_release() -> None:
    subscriptions, topics = _names("Subscription"), _names("SubscriptionTopic")
    assert len(subscriptions) >= 12
    assert len(topics) >= 9
    for name in subscriptions:
        changed = _example(name) | ANSWERED
        document = {element: value for element, value in changed.items() if value is not None}
        releases = HISTORY if name.startswith("r4-r4b") else [_release_of(name)]
        for release in releases:
            one = parse(release, document)
            same = orjson.loads(adapter(release).render_subscription(one).text)
            owned = {"id", "meta", "error"}
            kept = {element: value for element, value in document.items() if element not in owned}
            assert {element: same.get(element) for element in kept} == kept, name
            for other in Release:
                read_back(other, adapter(other).render_subscription(one).text)
    for name in topics:
        topic = parse_topic(Resource((EXAMPLES / f"{name}.json").read_bytes()))
        assert topic.focus_types, name
        for release in Release:
            read_back(release, adapter(release).render_topic(topic).text)


def test_r_238_parameters_that_are_reordered_or_unknown_do_not_hinder_reading() -> None:
    parts = [
        {"name": "focus", "valueReference": {"reference": "http://x/Observation/1"}},
        {"name": "something-else", "part": [{"name": "x", "valueString": "y"}]},
        {"name": "event-number", "valueString": "3"},
    ]
    parameters = [
        {"name": "notification-event", "part": parts},
        {"name": "of-another-maker", "valueString": "x"},
        {"name": "type", "valueCode": "event-notification"},
        {"name": "events-since-subscription-start", "valueString": "3"},
        {"name": "status", "valueCode": "active"},
        {"name": "subscription", "valueReference": {"reference": "http://x/Subscription/1"}},
    ]
    status = {"resourceType": "Parameters", "id": "1", "parameter": parameters}
    bundle = {"resourceType": "Bundle", "id": "1", "type": "history", "entry": [{"resource": status}]}
    one = read_notification(orjson.dumps(bundle))
    assert (one.type, one.events_since_start, one.events[0].number) == ("event-notification", 3, 3)
    assert one.events[0].focus == "http://x/Observation/1"
