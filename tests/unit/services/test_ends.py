"""A Subscription whose end has passed when it is registered."""

import orjson
import pytest

from broker.fhir.release import adapter
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription, SubscriptionStatus
from broker.services.ends import EndRule
from broker.testing.registration import subscription

NOW_MS = 1_700_000_000_000
FUTURE, PAST, ANCIENT = "2030-12-31T12:00:00Z", "2020-12-31T12:00:00Z", "0001-01-02T00:00:00Z"


class FixedClock:
    """Always `NOW_MS`."""

    def now_ms(self) -> int:
        return NOW_MS


def draft(release: Release, end: str | None) -> Subscription:
    document = subscription(release, "http://example.org/t", "https://example.org/hook")
    if end:
        document |= {"end": end, "_end": {"extension": [{"url": "urn:x", "valueCode": "kept"}]}}
    text = Resource(orjson.dumps(document))
    return adapter(release).parse_subscription(text, tenant=DEFAULT_TENANT, id="s1")


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("end", [FUTURE, None])
def test_an_end_in_the_future_changes_nothing(release: Release, end: str | None) -> None:
    parsed = draft(release, end)
    for rule in (EndRule(FixedClock()), EndRule(FixedClock(), ignores_past_ends=True)):
        assert rule.apply(parsed) == parsed
        assert list(rule.warnings(parsed)) == []


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("end", [PAST, ANCIENT])
def test_a_past_end_turns_the_subscription_off_and_says_so(release: Release, end: str) -> None:
    rule = EndRule(FixedClock())
    accepted = rule.apply(draft(release, end))
    assert accepted.status is SubscriptionStatus.OFF
    (warning,) = rule.warnings(accepted)
    assert (warning.severity, warning.expression) == ("warning", "Subscription.end")
    assert f"The end {end[:10]}T" in warning.text
    for target in Release:
        rendered = orjson.loads(adapter(target).render_subscription(accepted).text)
        assert (rendered["status"], rendered["end"][:10]) == ("off", end[:10])


@pytest.mark.parametrize("release", Release)
def test_a_past_end_can_be_ignored_and_then_is_not_shown(release: Release) -> None:
    rule = EndRule(FixedClock(), ignores_past_ends=True)
    accepted = rule.apply(draft(release, PAST))
    assert (accepted.status, accepted.end_ms) == (SubscriptionStatus.REQUESTED, None)
    assert list(rule.warnings(accepted)) == []
    expected = draft(release, None)
    assert orjson.loads(accepted.document) == orjson.loads(expected.document)


def test_an_end_that_has_come_is_named_as_the_reason_for_off() -> None:
    ended = draft(Release.R5, PAST).changed(status=SubscriptionStatus.OFF)
    (warning,) = EndRule(FixedClock()).warnings(ended)
    assert "Update it with a later end, or without one" in warning.text
