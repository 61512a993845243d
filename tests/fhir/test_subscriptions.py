"""Subscriptions and topics between releases: what one release says, the others say too; and the published
examples.
"""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Unprocessable
from broker.fhir.release import adapter
from broker.fhir.topics import parse_topic
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent, Subscription
from broker.testing.registration import BACKPORT, subscription
from tests.fhir.rows import read_back

EXAMPLES = Path(__file__).parents[3] / "shared" / "spec" / "examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the published examples are not beside this checkout"
)
TEXT = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.:;-]{0,20}[A-Za-z0-9]", fullmatch=True)
FILTERS = st.lists(
    st.sampled_from(
        ["patient=Patient/1", "code:not=a,b", "date=ge2024-01-01", "subject:Patient=1", "name=a=b&c"[:8]]
    ),
    max_size=3,
)
DRAFTS = st.fixed_dictionaries(
    {
        "topic": st.sampled_from(["http://example.org/t", "http://example.org/t|1.0", "urn:oid:1.2.3"]),
        "endpoint": st.sampled_from(["https://example.org/hook", "https://example.org/a?b=c"]),
        "content": st.sampled_from([str(content) for content in PayloadContent]),
        "filters": FILTERS,
        "headers": st.lists(st.tuples(st.from_regex(r"X-[A-Za-z]{1,8}", fullmatch=True), TEXT), max_size=2),
        "max_count": st.none() | st.integers(1, 1000),
        "heartbeat_s": st.none() | st.integers(0, 86_400),
        "timeout_s": st.none() | st.integers(1, 60),
    }
)


def parse(release: Release, document: dict[str, Any] | bytes) -> Subscription:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return adapter(release).parse_subscription(Resource(body), tenant=DEFAULT_TENANT, id="s1")


def meaning(parsed: Subscription) -> tuple[object, ...]:
    """What a subscription asks for, whichever release says it. A comparator and its prefix in the value mean
    the same.
    """
    filters = [
        (each.parameter, f"{each.comparator or ''}{each.value}", each.modifier, each.resource_type)
        for each in parsed.filters
    ]
    settings = parsed.channel
    return (
        *(
            parsed.topic,
            filters,
            settings.type.code,
            settings.endpoint,
            settings.headers,
            settings.content_type,
        ),
        *(settings.content, settings.heartbeat_s, settings.timeout_s, settings.max_count, parsed.end_ms),
    )


@pytest.mark.parametrize("source", Release)
@pytest.mark.parametrize("target", Release)
@given(draft=DRAFTS)
def test_a_subscription_has_the_same_meaning_at_another_base(
    source: Release, target: Release, draft: dict[str, Any]
) -> None:
    parsed = parse(source, subscription(source, **draft))
    rendered = adapter(target).render_subscription(parsed)
    read_back(target, rendered.text)
    assert meaning(parse(target, rendered.text)) == meaning(parsed)


@pytest.mark.parametrize("release", Release)
def test_elements_outside_the_neutral_model_are_kept_at_the_base_of_registration(release: Release) -> None:
    document = subscription(release, "http://example.org/t", "https://example.org/")
    document["contact"] = [{"system": "phone", "value": "1"}]
    document["extension"] = [{"url": "http://example.org/e", "valueString": "kept"}]
    rendered = orjson.loads(adapter(release).render_subscription(parse(release, document)).text)
    for name, value in document.items():
        if name != "meta":
            assert rendered[name] == value


def test_a_custom_channel_and_its_system_are_kept_between_releases() -> None:
    document = subscription("r5", "http://example.org/t", "https://example.org/")
    document["channelType"] = {"system": "http://example.org/c", "code": "queue"}
    rendered = adapter(Release.R4).render_subscription(parse(Release.R5, document))
    extension = orjson.loads(rendered.text)["channel"]["_type"]["extension"][0]
    assert extension["url"] == f"{BACKPORT}backport-channel-type", "R-127"
    assert parse(Release.R4, rendered.text).channel.type == parse(Release.R5, document).channel.type


@pytest.mark.parametrize("release", [Release.R4, Release.R4B])
def test_a_channel_without_a_code_in_r4_is_shown_in_the_extension_however_it_was_written(
    release: Release,
) -> None:
    extension = {
        "url": f"{BACKPORT}backport-channel-type",
        "valueCoding": {"system": "http://fhir-broker.org/channel-types", "code": "server-sent-events"},
    }
    expected = {"type": "rest-hook", "_type": {"extension": [extension]}}
    plain = subscription(release, "http://example.org/t", "https://example.org/", max_count=3)
    plain["channel"]["type"] = "server-sent-events"
    by_extension = subscription(release, "http://example.org/t", "https://example.org/", max_count=3)
    by_extension["channel"] |= expected
    native = subscription("r5", "http://example.org/t", "https://example.org/", max_count=3)
    native["channelType"] = extension["valueCoding"]
    for source, document in ((release, plain), (release, by_extension), (Release.R5, native)):
        parsed = parse(source, document)
        assert parsed.channel.type.code == "server-sent-events"
        for target in (Release.R4, Release.R4B):
            channel = orjson.loads(adapter(target).render_subscription(parsed).text)["channel"]
            assert {name: channel[name] for name in ("type", "_type")} == expected
            assert channel["payload"] == "application/fhir+json"
        in_r5 = orjson.loads(adapter(Release.R5).render_subscription(parsed).text)
        assert in_r5["channelType"] == extension["valueCoding"]


@pytest.mark.parametrize("code", ["rest-hook", "websocket", "email", "message"])
def test_the_codes_of_both_releases_need_no_extension(code: str) -> None:
    document = subscription("r5", "http://example.org/t", "https://example.org/")
    document["channelType"]["code"] = code
    channel = orjson.loads(adapter(Release.R4).render_subscription(parse(Release.R5, document)).text)[
        "channel"
    ]
    assert (channel["type"], "_type" in channel) == (code, False)
    document = subscription("r4b", "http://example.org/t", "https://example.org/")
    document["channel"]["type"] = code
    in_r5 = orjson.loads(adapter(Release.R5).render_subscription(parse(Release.R4B, document)).text)
    assert in_r5["channelType"] == {
        "system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type",
        "code": code,
    }


def test_the_name_or_reason_of_r5_becomes_the_reason_that_r4_requires() -> None:
    plain = subscription("r5", "http://example.org/t", "https://example.org/")
    for more, expected in (({"name": "N"}, "N"), ({"name": "N", "reason": "R"}, "R"), ({}, "not given")):
        rendered = adapter(Release.R4B).render_subscription(parse(Release.R5, plain | more))
        assert orjson.loads(rendered.text)["reason"] == expected


def test_the_end_is_kept_between_releases() -> None:
    document = subscription("r4", "http://example.org/t", "https://example.org/")
    document["end"] = "2100-01-01T01:00:00+01:00"
    rendered = adapter(Release.R5).render_subscription(parse(Release.R4, document))
    assert orjson.loads(rendered.text)["end"] == "2100-01-01T00:00:00.000Z"


def test_error_text_of_a_client_is_not_kept() -> None:
    document = subscription("r4", "http://example.org/t", "https://example.org/") | {"error": "mine"}
    rendered = orjson.loads(adapter(Release.R4).render_subscription(parse(Release.R4, document)).text)
    assert "error" not in rendered, "R-157"


def test_a_setting_is_read_in_any_integer_type_and_refused_without_one() -> None:
    document = subscription("r4", "http://example.org/t", "https://example.org/", heartbeat_s=120)
    (extension,) = document["channel"]["extension"]
    extension["valueInteger"] = extension.pop("valueUnsignedInt")
    assert parse(Release.R4, document).channel.heartbeat_s == 120
    extension["valueString"] = str(extension.pop("valueInteger"))
    with pytest.raises(Unprocessable) as caught:
        parse(Release.R4, document)
    assert caught.value.issues[0].expression == "Subscription.channel.extension[0].valueUnsignedInt"


@needs_examples
@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("r5-subscription-encounter-complete", Release.R5),
        ("r5-subscription-admission", Release.R5),
        ("r5-subscription-example", Release.R5),
        ("r4-subscription-encounter-complete", Release.R4),
        ("r4b-subscription-encounter-complete", Release.R4B),
        ("r4-subscription-inferno", Release.R4),
        ("r4-subscription-empty-inferno", Release.R4),
        ("r4-subscription-id-only-inferno", Release.R4),
        ("r4-subscription-full-resource-inferno", Release.R4),
        ("r4-r4b-subscription-admission-ig", Release.R4),
        ("r4-r4b-subscription-custom-channel-ig", Release.R4),
        ("r4-r4b-subscription-multi-resource-ig", Release.R4B),
    ],
)
def test_published_subscriptions_are_read(name: str, release: Release) -> None:
    document = orjson.loads((EXAMPLES / f"{name}.json").read_bytes())
    # examples show what a server answers; these are what a client may not say or what has passed since
    document["status"] = "requested"
    document.pop("end", None)
    parsed = parse(release, document)
    assert parsed.topic.startswith("http")
    for other in Release:
        read_back(other, adapter(other).render_subscription(parsed).text)


@needs_examples
@pytest.mark.parametrize(
    "name",
    [
        *("r4b-subscriptiontopic-admission", "r4b-subscriptiontopic-encounter-complete"),
        *("r4b-subscriptiontopic-encounter-complete-ig", "r5-subscriptiontopic-admission"),
        *("r5-subscriptiontopic-encounter-complete", "r5-subscriptiontopic-example"),
        *("r5-subscriptiontopic-fhirpath-criteria", "r5-subscriptiontopic-interaction-only"),
        "r5-subscriptiontopic-query-criteria",
    ],
)
def test_published_topics_are_read_and_written_in_every_release(name: str) -> None:
    topic = parse_topic(Resource((EXAMPLES / f"{name}.json").read_bytes()))
    for release in Release:
        rendered = adapter(release).render_topic(topic)
        read_back(release, rendered.text)
        if release is not Release.R4:
            again = parse_topic(rendered)
            assert (again.url, again.focus_types, again.resource_triggers) == (
                *(topic.url, topic.focus_types, topic.resource_triggers),
            )


def test_every_problem_of_a_subscription_is_reported_with_its_element() -> None:
    document = subscription("r4", "Observation?code=1", "https://example.org/", max_count=5000)
    document["status"] = "error"
    with pytest.raises(Unprocessable) as caught:
        parse(Release.R4, document)
    assert [issue.expression for issue in caught.value.issues] == [
        "Subscription.status",
        "Subscription.criteria",
        "Subscription.channel.extension[0].valuePositiveInt",
    ]
