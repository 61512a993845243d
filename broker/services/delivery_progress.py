"""How far a stored change is on its way to the subscriber of one Subscription. Used by `ExplainService`.

The order of the reads matters: the backlog first, then the outbox. A change that a matcher takes in between
is then found in the outbox, and never reported as lost.
"""

from dataclasses import dataclass
from enum import StrEnum

from broker.model.change import Version
from broker.model.notification import Event
from broker.store.change_log import ChangeLog
from broker.store.outbox import Outboxes
from broker.store.schedule import Schedule
from broker.store.subscriptions import Record

MAX_SEARCHED = 100_000
"""The number of newest events in which the event of a change is searched for."""
_PAGE = 1_000


class DeliveryState(StrEnum):
    """Whether an event was delivered."""

    DELIVERED = "delivered"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """Where a change is.

    `event` is the event the change became, if any. `is_search_complete` is False where older events exist
    than were searched, so that the missing event proves nothing. `next_attempt_ms` is a time (ms), None
    without one.
    """

    event: Event | None
    is_search_complete: bool
    is_waiting_to_be_matched: bool
    next_attempt_ms: int | None

    def state(self, record: Record) -> DeliveryState | None:
        """None where the change has no event."""
        if self.event is None:
            return None
        is_delivered = self.event.number <= record.cursor
        return DeliveryState.DELIVERED if is_delivered else DeliveryState.WAITING

    def describe(self, record: Record) -> str:
        """One sentence; '' where nothing is certain."""
        if self.event is not None:
            waits = (
                "delivered" if self.state(record) is DeliveryState.DELIVERED else "waiting to be delivered"
            )
            return f"It is event {self.event.number}, {waits}."
        if self.is_waiting_to_be_matched:
            return "It is waiting to be matched."
        return "It got no event number." if self.is_search_complete else ""


class DeliveryProgressReader:
    """Reads the progress from the store; writes nothing."""

    def __init__(self, change_log: ChangeLog, outboxes: Outboxes, schedule: Schedule) -> None:
        self._change_log = change_log
        self._outboxes = outboxes
        self._schedule = schedule

    async def read(self, record: Record, version: Version) -> DeliveryProgress:
        """The progress of the change that made `version`."""
        subscription = record.subscription
        is_waiting = await self._change_log.is_unmatched(version)
        event, is_complete = await self._find_event(record, version)
        next_attempt_ms = await self._schedule.next_attempt_ms(subscription.tenant, subscription.id)
        return DeliveryProgress(event, is_complete, is_waiting and event is None, next_attempt_ms)

    async def _find_event(self, record: Record, version: Version) -> tuple[Event | None, bool]:
        """The event of the version, and whether all stored events were searched."""
        subscription = record.subscription
        upper, lowest = record.count, max(0, record.count - MAX_SEARCHED)
        while upper > lowest:
            lower = max(1, upper - _PAGE + 1)
            page = await self._outboxes.read(subscription.tenant, subscription.id, lower, upper, limit=_PAGE)
            for event in reversed(page):
                # a business event about the version has the same focus at another time
                if event.focus == version.key and event.at_ms == version.at_ms:
                    return event, True
            if not page:
                return None, False  # older events are past the retention
            upper = lower - 1
        return None, lowest == 0
