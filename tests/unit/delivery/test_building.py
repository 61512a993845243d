"""What is reported of a notification that cannot be built."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog.testing

from broker.delivery.building import NotificationBuilder
from broker.delivery.owner_access import PermittedEvents
from broker.delivery.policy import BUILD_ATTEMPTS
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import ErrorReport, Event, Notification
from broker.model.outcome import Unrenderable, UnrenderableEvent
from broker.model.release import Release

FOCUS = VersionKey(DEFAULT_TENANT, "Observation", "a", 1)
EVENT = Event(3, 1, FOCUS, Release.R4, Interaction.CREATE, ())
CLAIM = SimpleNamespace(
    id="s", type="event-notification", build_failures=0, count=1, at_ms=1, status="active"
)


class Composer:
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
        outcome = await builder.build(cast("Any", claim), cast("Any", None), PermittedEvents((EVENT,)))
    text = "the notification could not be built: ValueError"
    events = (UnrenderableEvent(3, text),) if is_last else ()
    assert outcome == Unrenderable(ErrorReport(None, text), events)
    assert "markerhealth" not in str(lines)
    assert len(lines) == 2 * is_last
