"""Notification Bundles over generated sequences of events: one version of each resource, no ambiguous
reference, one entry for each deletion.
"""

from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from broker.fhir.release import adapter
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import Event, Focus, Included, Notification, NotificationType
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from tests.fhir.rows import Sent, check_rows

TOPIC = "http://example.org/topics/any|1"


def _resource(key: VersionKey) -> Resource:
    members = {"resourceType": key.type, "id": key.id, "meta": {"versionId": str(key.version)}}
    if key.type == "Observation":
        members |= {"status": "final", "code": {"text": "x"}}
    return Resource(orjson.dumps(members))


@st.composite
def foci(draw: st.DrawFn) -> tuple[Focus, ...]:
    """Events of two observations and a patient, each a later version; some are deletions, some repeat."""
    versions = {("Observation", "o1"): 0, ("Observation", "o2"): 0, ("Patient", "o1"): 0}
    interactions: dict[VersionKey, Interaction] = {}
    made = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        name = draw(st.sampled_from(sorted(versions)))
        if not versions[name] or draw(st.booleans()):
            versions[name] += 1
        key = VersionKey(DEFAULT_TENANT, *name, versions[name])
        interaction = interactions.setdefault(key, draw(st.sampled_from(Interaction)))
        included = tuple(
            Included(VersionKey(DEFAULT_TENANT, "Patient", patient, draw(st.integers(1, 3))), Release.R4)
            for patient in draw(st.lists(st.sampled_from(["o1", "p2"]), max_size=2))
        )
        event = Event(number, 1_700_000_000_000 + number, key, Release.R4, interaction, included)
        resource = None if interaction is Interaction.DELETE else _resource(key)
        made.append(Focus(event, resource, tuple(_resource(each.key) for each in included)))
    return tuple(made)


def render(foci: tuple[Focus, ...], release: Release, content: PayloadContent) -> Sent:
    notification = Notification(
        id="0a1b2c3d-0000-4000-8000-000000000001",
        type=NotificationType.QUERY_EVENT,
        release=release,
        subscription=SubscriptionId("s1"),
        topic=TOPIC,
        status=SubscriptionStatus.ACTIVE,
        content=content,
        events_since_start=foci[-1].event.number,
        at_ms=1_700_000_000_123,
        foci=foci,
    )
    base = f"https://broker.example/{release}"
    body = adapter(release).render_notification(notification, base=base)
    return Sent(body.text, release, content, base, notification.subscription, notification.topic)


@given(foci(), st.sampled_from(Release))
def test_a_bundle_has_one_version_of_each_resource_and_one_entry_for_each_deletion(
    foci: tuple[Focus, ...], release: Release
) -> None:
    sent = render(foci, release, PayloadContent.FULL_RESOURCE)
    check_focus_entries(sent, foci)
    resources = [entry["resource"] for entry in sent.entries[1:] if "resource" in entry]
    names = [(resource["resourceType"], resource["id"]) for resource in resources]
    assert len(names) == len(set(names))
    deleted = {focus.event.focus for focus in foci if focus.event.interaction is Interaction.DELETE}
    assert sum(entry["request"]["method"] == "DELETE" for entry in sent.entries[1:]) == len(deleted)


def check_focus_entries(sent: Sent, foci: tuple[Focus, ...]) -> None:
    """The newest focus of each resource has the entry with its URL: the resource, or that it was deleted."""
    newest = {focus.event.focus.reference: focus for focus in foci}
    by_url = {entry["fullUrl"]: entry for entry in sent.entries}
    assert len(by_url) == len(sent.entries)
    for reference, focus in newest.items():
        entry = by_url[f"{sent.base}/{reference}"]
        if focus.resource is None:
            assert "resource" not in entry
        else:
            assert entry["resource"]["meta"]["versionId"] == str(focus.event.focus.version)


@given(
    foci(), st.sampled_from(Release), st.sampled_from([PayloadContent.ID_ONLY, PayloadContent.FULL_RESOURCE])
)
def test_the_references_to_two_versions_of_a_resource_can_be_told_apart(
    foci: tuple[Focus, ...], release: Release, content: PayloadContent
) -> None:
    sent = render(foci, release, content)
    references = [event["focus"]["reference"] for event in sent.events]
    for (first, one), (second, other) in pairwise(zip(foci, references, strict=True)):
        assert (first.event.focus == second.event.focus) is (one == other)
    assert len({focus.event.focus for focus in foci}) == len(set(references))


@given(foci(), st.sampled_from(Release))
def test_every_row_holds_for_events_without_included_resources(
    foci: tuple[Focus, ...], release: Release
) -> None:
    bare = tuple(Focus(focus.event._replace(context=()), focus.resource) for focus in foci)
    check_rows(render(bare, release, PayloadContent.FULL_RESOURCE))
