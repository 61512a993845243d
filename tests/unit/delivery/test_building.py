"""What is reported of a notification that cannot be built."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog.testing

from broker.delivery.building import BuiltNotification, NotificationBuilder
from broker.delivery.owner_access import NO_EVENTS, PermittedEvents
from broker.delivery.policy import BUILD_ATTEMPTS
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import ErrorReport, Event, Notification
from broker.model.outcome import UndeliverableEvent, Unrenderable
from broker.model.release import Release
from broker.model.subscription import PayloadContent

FOCUS = VersionKey(DEFAULT_TENANT, "Observation", "a", 1)
EVENT = Event(3, 1, FOCUS, Release.R4, Interaction.CREATE, ())
SUBSCRIPTION: Any = SimpleNamespace(channel=SimpleNamespace(content=PayloadContent.FULL_RESOURCE))
CLAIM = SimpleNamespace(
    id="s", type="event-notification", build_failures=0, count=1, at_ms=1, status="active"
)


class Composer:
    def __init__(self, *, has_topic: bool = True) -> None:
        self._has_topic = has_topic

    def has_topic(self, _subscription: Any) -> bool:
        return self._has_topic

    async def compose(self, *_: Any, **__: Any) -> None:
        return None


def quote(_notification: Notification) -> bytes:
    raise ValueError("markerhealth is no number")


@pytest.mark.parametrize("is_last", [False, True])
async def test_an_error_that_quotes_the_resource_is_reported_and_logged_without_its_text(
    is_last: bool,
) -> None:
    claim = SimpleNamespace(**vars(CLAIM) | {"build_failures": BUILD_ATTEMPTS - 1 if is_last else 0})
    builder = NotificationBuilder(cast("Any", Composer()), quote)
    with structlog.testing.capture_logs() as lines:
        outcome = await builder.build(cast("Any", claim), SUBSCRIPTION, PermittedEvents((EVENT,)))
    text = "the notification could not be built: ValueError"
    events = (UndeliverableEvent(3, text),) if is_last else ()
    assert outcome == Unrenderable(ErrorReport(None, text), events)
    assert "markerhealth" not in str(lines)
    assert len(lines) == 2 * is_last


@pytest.mark.parametrize("is_last", [False, True])
async def test_resources_wait_for_a_topic_that_is_not_loaded_yet_until_the_last_attempt(
    is_last: bool,
) -> None:
    claim = SimpleNamespace(**vars(CLAIM) | {"build_failures": BUILD_ATTEMPTS - 1 if is_last else 0})
    builder = NotificationBuilder(cast("Any", Composer(has_topic=False)), lambda _: b"references only")
    outcome = await builder.build(cast("Any", claim), SUBSCRIPTION, PermittedEvents((EVENT,)))
    if is_last:
        assert isinstance(outcome, BuiltNotification)
    else:
        assert isinstance(outcome, Unrenderable)
        assert outcome.events == ()
        assert "topic is not loaded" in outcome.error.text


async def test_a_heartbeat_waits_for_no_topic() -> None:
    builder = NotificationBuilder(cast("Any", Composer(has_topic=False)), lambda _: b"heartbeat")
    outcome = await builder.build(cast("Any", CLAIM), SUBSCRIPTION, NO_EVENTS)
    assert isinstance(outcome, BuiltNotification)
