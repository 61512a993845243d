"""Decides what a request of a broker means, and hands its events to the application. It knows no web
framework.

For each Subscription the application gets the events one after the other, in the order of their numbers. A
number is settled when the application has returned for it, or when the broker no longer has the event. What
is settled is never handed over again; what was handed over when the process was killed, is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from broker.clock import Clock, SystemClock
from broker.receiver.catch_up import CatchUp, CatchUpFailed
from broker.receiver.events import Event, Gap, events_of
from broker.receiver.ledger import Ledger
from broker.receiver.notifications import ReceivedNotification, read_notification
from broker.receiver.signatures import NotVerified, verify

_log = logging.getLogger(__name__)

HandleEvent = Callable[[Event], Awaitable[None]]
HandleGap = Callable[[Gap], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The status for the broker, and why. The broker sends again what it gets no 2xx for."""

    status: int
    reason: str = ""


async def _log_gap(gap: Gap) -> None:
    _log.error("events %d to %d of %s are lost", gap.first, gap.last, gap.subscription)


class Receiver:
    """Receives the notifications of any number of Subscriptions.

    `secrets` are those of the Subscriptions, two each during a rotation; None accepts what is not signed.
    `secrets` may be set at any time. `catch_up` fetches what is missing: without it, a gap is lost at once.
    `on_gap` hears of lost events before the next event is handed over. With `from_start`, a Subscription that
    the ledger does not have begins with event 1, which is fetched if it was sent before; otherwise it begins
    with the first event that arrives.
    """

    def __init__(
        self,
        handle: HandleEvent,
        ledger: Ledger,
        *,
        secrets: Sequence[str] | None,
        catch_up: CatchUp | None = None,
        on_gap: HandleGap = _log_gap,
        from_start: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._handle = handle
        self._ledger = ledger
        self.secrets = secrets
        self._catch_up = catch_up
        self._on_gap = on_gap
        self._from_start = from_start
        self._clock = clock or SystemClock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Returns after the application has handled the events. Never raises for what the request has."""
        if self.secrets is not None:
            try:
                verify(headers, body, self.secrets, self._clock.now_ms() / 1000)
            except NotVerified as problem:
                return Answer(401, str(problem))
        try:
            notification = read_notification(body)
        except ValueError:
            return Answer(400, "the body is no notification Bundle")
        lock = self._locks.setdefault(notification.subscription, asyncio.Lock())
        async with lock:
            try:
                await self._take(notification)
            except CatchUpFailed as problem:
                _log.warning("events are missing and cannot be fetched: %s", problem)
                return Answer(503, "events before these are missing and cannot be fetched now")
            except Exception:  # noqa: BLE001 whatever the application raises
                _log.exception("a notification of %s was not handled", notification.subscription)
                return Answer(500, "the application failed")
        return Answer(200)

    async def _take(self, notification: ReceivedNotification) -> None:
        settled = await self._start(notification)
        count = notification.events_since_start
        if notification.type != "event-notification":
            if count > settled and self._catch_up is not None:
                await self._fetch(notification.subscription, settled + 1, count)
            return
        for event in events_of(notification):
            settled = await self._settled(event.subscription) or 0
            if event.number <= settled:
                continue  # sent again: the answer was lost, or an operator asked for it
            if event.number > settled + 1:
                settled = await self._fetch(event.subscription, settled + 1, event.number - 1)
                await self._lose_until(event.subscription, settled, event.number - 1)
            await self._settle(event)

    async def _start(self, notification: ReceivedNotification) -> int:
        """The number settled so far, of a Subscription that may be new or be registered again."""
        key, count = notification.subscription, notification.events_since_start
        settled = await self._settled(key)
        if notification.type == "handshake":
            is_new = await asyncio.to_thread(self._ledger.is_new_handshake, key, notification.id)
            if is_new and settled is not None and count < settled:
                _log.warning("%s was registered again: its numbers begin at %d", key, count + 1)
                settled = count
                await asyncio.to_thread(self._ledger.settle, key, settled)
        if settled is None:
            settled = 0
            if not self._from_start:
                first = min((event.number for event in notification.events), default=count + 1)
                settled = max(first - 1, 0)
            await asyncio.to_thread(self._ledger.settle, key, settled)
        return settled

    async def _fetch(self, subscription: str, first: int, last: int) -> int:
        """Handles the events of a range that the broker still has. The last number settled then.

        The broker answers with the oldest events of a range, so that a number it leaves out before an event
        is lost; those after the last event may only not be ready yet.
        """
        while self._catch_up is not None and first <= last:
            answer = await self._catch_up.events(subscription, first, last)
            events = [event for event in events_of(answer) if first <= event.number <= last]
            if not events:
                break
            for event in events:
                await self._lose_until(subscription, first - 1, event.number - 1)
                # the answer may name the Subscription by another URL than notifications and ledger do
                await self._settle(replace(event, subscription=subscription))
                first = event.number + 1
        return first - 1

    async def _lose_until(self, subscription: str, settled: int, last: int) -> None:
        if settled < last:
            gap = Gap(subscription, settled + 1, last)
            await self._on_gap(gap)
            await asyncio.to_thread(self._ledger.lose, gap)

    async def _settle(self, event: Event) -> None:
        await self._handle(event)
        await asyncio.to_thread(self._ledger.settle, event.subscription, event.number)

    async def _settled(self, subscription: str) -> int | None:
        return await asyncio.to_thread(self._ledger.settled, subscription)
