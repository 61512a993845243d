"""Notification Bundles as each release writes them, checked row by row without a network."""

from itertools import product

import orjson
import pytest

from broker.fhir.release import adapter
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import (
    DeliveryError,
    ErrorReport,
    Event,
    Focus,
    Included,
    Notification,
    NotificationType,
)
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from tests.fhir.rows import Sent, check_rows, read_back

TOPIC = "http://example.org/topics/any|1"
ALL = list(product(Release, PayloadContent))
STORED = (
    b'{"resourceType":"Observation","id":"%s","meta":{"versionId":"%d"},"status":"final",'
    b'"code":{"text":"x"},"valueQuantity":{"value":98.60}}'
)


def focus(number: int, interaction: Interaction, resource_id: str = "o1", version: int = 1) -> Focus:
    event = Event(
        number,
        1_700_000_000_000,
        VersionKey(DEFAULT_TENANT, "Observation", resource_id, version),
        Release.R4,
        interaction,
    )
    stored = Resource(STORED % (resource_id.encode(), version))
    return Focus(event, None if interaction is Interaction.DELETE else stored)


def notification(
    release: Release, content: PayloadContent, kind: NotificationType, *foci: Focus
) -> Notification:
    return Notification(
        id="0a1b2c3d-0000-4000-8000-000000000001",
        type=kind,
        release=release,
        subscription=SubscriptionId("s1"),
        topic=TOPIC,
        status=SubscriptionStatus.ACTIVE,
        content=content,
        events_since_start=foci[-1].event.number if foci else 0,
        at_ms=1_700_000_000_123,
        foci=foci,
    )


def render(notified: Notification) -> Sent:
    base = f"https://broker.example/{notified.release}"
    body = adapter(notified.release).render_notification(notified, base=base)
    return Sent(body.text, notified.release, notified.content, base, notified.subscription, notified.topic)


@pytest.mark.parametrize(("release", "content"), ALL)
@pytest.mark.parametrize("kind", [NotificationType.HANDSHAKE, NotificationType.HEARTBEAT])
def test_a_notification_without_events_meets_every_row(
    release: Release, content: PayloadContent, kind: NotificationType
) -> None:
    sent = check_rows(render(notification(release, content, kind)))
    assert sent.type == kind
    assert sent.status["eventsSinceSubscriptionStart"] == "0"
    assert len(sent.entries) == 1


@pytest.mark.parametrize(("release", "content"), ALL)
def test_a_batch_of_create_update_and_delete_meets_every_row(
    release: Release, content: PayloadContent
) -> None:
    foci = (
        focus(7, Interaction.CREATE),
        focus(8, Interaction.UPDATE, version=2),
        focus(9, Interaction.DELETE, version=3),
    )
    sent = check_rows(render(notification(release, content, NotificationType.EVENT_NOTIFICATION, *foci)))
    assert sent.numbers == [7, 8, 9]
    if content is not PayloadContent.EMPTY:
        base = f"https://broker.example/{release}/Observation/o1/_history/"
        assert [event["focus"]["reference"] for event in sent.events] == [base + n for n in "123"]
    if content is PayloadContent.FULL_RESOURCE:
        requests = [(entry["request"]["method"], entry["request"]["url"]) for entry in sent.entries[1:]]
        o1 = "Observation/o1"
        assert requests == [("GET", f"{o1}/_history/1"), ("GET", f"{o1}/_history/2"), ("DELETE", o1)]
        assert not any("resource" in entry for entry in sent.entries[1:])


@pytest.mark.parametrize("release", Release)
def test_two_deletions_of_a_resource_have_an_entry_each(release: Release) -> None:
    foci = (
        focus(1, Interaction.CREATE),
        focus(2, Interaction.DELETE, version=2),
        focus(3, Interaction.CREATE, version=3),
        focus(4, Interaction.DELETE, version=4),
        focus(5, Interaction.CREATE, version=5),
    )
    full = PayloadContent.FULL_RESOURCE
    sent = check_rows(render(notification(release, full, NotificationType.QUERY_EVENT, *foci)))
    deletions = [entry for entry in sent.entries[1:] if entry["request"]["method"] == "DELETE"]
    assert [entry["request"]["url"] for entry in deletions] == ["Observation/o1"] * 2
    assert [entry["resource"]["meta"]["versionId"] for entry in sent.entries[1:] if "resource" in entry] == [
        "5"
    ]


@pytest.mark.parametrize("release", Release)
def test_an_included_resource_that_is_a_focus_too_is_sent_once(release: Release) -> None:
    patient = VersionKey(DEFAULT_TENANT, "Patient", "p1", 1)
    text = b'{"resourceType":"Patient","id":"p1","meta":{"versionId":"1"}}'
    included = Included(patient, Release.R4)
    of_patient = Event(1, 1_700_000_000_000, patient, Release.R4, Interaction.CREATE)
    first, second = focus(2, Interaction.CREATE), focus(3, Interaction.CREATE, "o2")
    foci = (
        Focus(of_patient, Resource(text)),
        Focus(first.event._replace(context=(included,)), first.resource, (Resource(text),)),
        Focus(second.event._replace(context=(included,)), second.resource, (Resource(text),)),
    )
    full = PayloadContent.FULL_RESOURCE
    body = render(notification(release, full, NotificationType.EVENT_NOTIFICATION, *foci)).bundle
    base = f"https://broker.example/{release}"
    urls = [entry["fullUrl"] for entry in body["entry"][1:]]
    assert urls == [f"{base}/Patient/p1", f"{base}/Observation/o1", f"{base}/Observation/o2"]


@pytest.mark.parametrize("release", Release)
def test_r_250_a_version_shared_by_two_events_has_one_entry(release: Release) -> None:
    foci = (focus(1, Interaction.CREATE), focus(2, Interaction.CREATE))
    sent = check_rows(
        render(
            notification(release, PayloadContent.FULL_RESOURCE, NotificationType.EVENT_NOTIFICATION, *foci)
        )
    )
    assert len(sent.entries) == 2
    assert sent.numbers == [1, 2]


@pytest.mark.parametrize("release", Release)
def test_r_244_a_resource_that_cannot_be_converted_has_an_entry_with_a_request_to_read_it(
    release: Release,
) -> None:
    unconverted = focus(1, Interaction.UPDATE)._replace(resource=None)
    sent = check_rows(
        render(
            notification(
                release, PayloadContent.FULL_RESOURCE, NotificationType.EVENT_NOTIFICATION, unconverted
            )
        )
    )
    assert sent.entries[1]["request"] == {"method": "GET", "url": "Observation/o1"}


@pytest.mark.parametrize("release", Release)
def test_the_status_says_once_why_a_resource_is_not_included(release: Release) -> None:
    text = "Observation/o1/_history/1 is not included: it can't be converted from R5 to R4."
    bare = focus(1, Interaction.UPDATE)._replace(resource=None, omissions=(text, text))
    full = PayloadContent.FULL_RESOURCE
    sent = check_rows(render(notification(release, full, NotificationType.EVENT_NOTIFICATION, bare)))
    assert [error["text"] for error in sent.status["error"]] == [text]


@pytest.mark.parametrize(("release", "content"), ALL)
def test_r_209_rendering_a_notification_again_gives_the_identical_bytes(
    release: Release, content: PayloadContent
) -> None:
    notified = notification(
        release, content, NotificationType.EVENT_NOTIFICATION, focus(1, Interaction.CREATE)
    )
    assert render(notified).body == render(notified).body


@pytest.mark.parametrize("release", Release)
def test_r_208_two_notifications_share_neither_bundle_id_nor_status_id(release: Release) -> None:
    notified = notification(release, PayloadContent.ID_ONLY, NotificationType.HEARTBEAT)
    first, second = render(notified), render(notified._replace(id="0a1b2c3d-0000-4000-8000-000000000002"))
    assert first.bundle["id"] != second.bundle["id"]
    assert first.entries[0]["fullUrl"] != second.entries[0]["fullUrl"]


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("code", [*DeliveryError, None])
def test_r_267_an_error_is_a_coding_where_there_is_one_and_always_a_text(
    release: Release, code: DeliveryError | None
) -> None:
    heartbeat = notification(release, PayloadContent.ID_ONLY, NotificationType.HEARTBEAT)
    failed = heartbeat._replace(status=SubscriptionStatus.ERROR, errors=(ErrorReport(code, "no luck"),))
    error = check_rows(render(failed)).status["error"]
    assert [notified["text"] for notified in error] == ["no luck"]
    assert [coding["code"] for notified in error for coding in notified.get("coding", [])] == (
        [code] if code else []
    )


@pytest.mark.parametrize("release", Release)
def test_r_266_an_empty_range_is_a_query_event_except_in_r5_whose_rules_forbid_it(release: Release) -> None:
    sent = check_rows(render(notification(release, PayloadContent.ID_ONLY, NotificationType.QUERY_EVENT)))
    assert sent.type == ("query-status" if release is Release.R5 else "query-event")
    assert not sent.events


@pytest.mark.parametrize("release", Release)
def test_r_265_a_query_status_names_its_topic_even_at_empty(release: Release) -> None:
    notified = notification(release, PayloadContent.EMPTY, NotificationType.QUERY_STATUS)
    body = adapter(release).render_status(notified, base="https://broker.example/x")
    read_back(release, body.text)
    assert TOPIC in orjson.dumps(orjson.loads(body.text)).decode()


@pytest.mark.parametrize("release", [Release.R4, Release.R4B])
def test_r_238_the_status_profile_is_named(release: Release) -> None:
    sent = render(notification(release, PayloadContent.ID_ONLY, NotificationType.HANDSHAKE))
    profiles = sent.entries[0]["resource"].get("meta", {}).get("profile", [])
    suffix = {Release.R4: "backport-subscription-status-r4"}.get(release)
    assert [notified.rpartition("/")[2] for notified in profiles] == ([suffix] if suffix else [])
