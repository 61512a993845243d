"""Checks a history against the broker's promises. Pure: the same history gives the same verdict.

The rules, by the name that a finding carries:

    loss       the endpoint never accepted an acknowledged change that was requested while a subscription to
               its patient was active
    gap        the numbers that an endpoint accepted for the first time are not 1, 2, 3, … in that order
    reuse      one number stood for two events: another resource, version or content
    renumber   one change had two numbers in one subscription
    retry      a number came again, without a resend request, in a notification with other bytes
    order      changes of one resource were numbered in another order than they were made
    foreign    an event of a patient outside the subscription, of a change that nobody requested, or with
               other content
    refused    an event of a change that the broker had refused
    duplicate  a number was accepted twice, without a resend request or a fault that can lose an answer

What the channel `fhir-write` wrote to an EHR has rules of its own (`write_checker.py`).

A change whose answer is unknown may become an event or not; if it does, all other rules apply to it too.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.history import (
    Answer,
    Change,
    ChangeRequest,
    Deactivated,
    DeliveredEvent,
    Fault,
    History,
    NotificationPost,
    ResendRequested,
    ResourceWritten,
    SubscriptionActivated,
)
from tests.faults.write_checker import find_wrong_writes

MAX_FINDINGS = 20
"""Findings per rule that are written out; the count includes all of them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise."""

    rule: str
    text: str


@dataclass(slots=True)
class Verdict:
    """The result of a check. `broken` counts the findings by rule; `findings` has the first of each rule."""

    acknowledged: int = 0
    unknown: int = 0
    owed: int = 0
    delivered: int = 0
    duplicates: int = 0
    findings: list[Finding] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        return self.broken["loss"]

    @property
    def is_good(self) -> bool:
        return not self.broken

    def report(self, rule: str, text: str) -> None:
        self.broken[rule] += 1
        if self.broken[rule] <= MAX_FINDINGS:
            self.findings.append(Finding(rule, text))

    def __str__(self) -> str:
        counts = (
            f"acknowledged {self.acknowledged}, owed {self.owed}, "
            f"delivered {self.delivered}, duplicates {self.duplicates}"
        )
        return "\n".join([counts, *(f"{finding.rule}: {finding.text}" for finding in self.findings)])


def check(history: History) -> Verdict:
    """Applies every rule to the whole history."""
    verdict = Verdict()
    requests = {record.change: record for record in history.records if isinstance(record, ChangeRequest)}
    verdict.acknowledged = sum(request.answer is Answer.ACKNOWLEDGED for request in requests.values())
    verdict.unknown = sum(request.answer is Answer.UNKNOWN for request in requests.values())
    subscriptions = {
        record.subscription: record for record in history.records if isinstance(record, SubscriptionActivated)
    }
    deliveries = _deliveries(history, verdict)
    for name, delivered in deliveries.items():
        if name in subscriptions:
            delivered.compare(subscriptions[name], requests)
        elif delivered.events:
            verdict.report("foreign", f"{name} is no subscription of this run and received events")
    writes = [record for record in history.records if isinstance(record, ResourceWritten)]
    all_accepted = find_wrong_writes(writes, subscriptions, requests, verdict.report)
    all_accepted |= {name: delivered.accepted for name, delivered in deliveries.items()}
    periods = _active_periods(history)
    for name, subscription in subscriptions.items():
        _find_losses(subscription, periods[name], requests, all_accepted.get(name, {}), verdict)
    verdict.delivered = sum(map(len, all_accepted.values()))
    return verdict


def _deliveries(history: History, verdict: Verdict) -> "dict[str, _Deliveries]":
    """The notifications of each subscription, checked by the rules that need nothing else."""
    deliveries: dict[str, _Deliveries] = {}
    can_repeat = False
    for record in history.records:
        if isinstance(record, Fault):
            can_repeat = can_repeat or record.can_repeat
        elif isinstance(record, NotificationPost | ResendRequested):
            delivered = deliveries.setdefault(record.subscription, _Deliveries(record.subscription, verdict))
            if isinstance(record, ResendRequested):
                delivered.resend(record)
            else:
                delivered.post(record, can_repeat=can_repeat)
    return deliveries


def _active_periods(history: History) -> dict[str, list[tuple[float, float]]]:
    """When each subscription was seen active."""
    periods: dict[str, list[tuple[float, float]]] = {}
    for record in history.records:
        if isinstance(record, SubscriptionActivated):
            periods.setdefault(record.subscription, []).append((record.at_ms, math.inf))
        elif isinstance(record, Deactivated):
            start, _ = periods[record.subscription].pop()
            periods[record.subscription].append((start, record.at_ms))
    return periods


def _find_losses(
    subscription: SubscriptionActivated,
    periods: Sequence[tuple[float, float]],
    requests: dict[Change, ChangeRequest],
    accepted: dict[Change, int],
    verdict: Verdict,
) -> None:
    for change, request in requests.items():
        if (
            request.answer is Answer.ACKNOWLEDGED
            and request.patient in subscription.patients
            and any(start <= request.at_ms < end for start, end in periods)
        ):
            verdict.owed += 1
            if change not in accepted:
                verdict.report("loss", f"{subscription.subscription} never accepted {_describe(change)}")


@dataclass(slots=True)
class _Deliveries:
    """The notifications of one subscription, in order."""

    name: str
    verdict: Verdict
    highest: int = 0
    events: dict[int, DeliveredEvent] = field(default_factory=dict)
    """The event that each number stood for at first."""
    accepted: dict[Change, int] = field(default_factory=dict)
    """The changes that the endpoint accepted, in the order of their numbers, each with its number."""
    _notifications: dict[int, NotificationPost] = field(default_factory=dict)
    """The notification that contained a number, since the last handshake."""
    _resend_requests: list[ResendRequested] = field(default_factory=list)

    def resend(self, request: ResendRequested) -> None:
        self._resend_requests.append(request)
        for number in range(request.first, request.last + 1):
            self._notifications.pop(number, None)

    def post(self, post: NotificationPost, *, can_repeat: bool) -> None:
        if post.type == "handshake":
            self._notifications.clear()  # after a new registration, notifications are built again
        for event in post.events:
            self._identify(event)
            self._compare_notifications(post, event)
            if post.is_success:
                self._accept(event, can_repeat=can_repeat)

    def _identify(self, event: DeliveredEvent) -> None:
        first = self.events.setdefault(event.number, event)
        if first != event:
            then = f"then {_describe(event.change)} or another body"
            self.verdict.report("reuse", f"{self.name} #{event.number} was {_describe(first.change)}, {then}")

    def _compare_notifications(self, post: NotificationPost, event: DeliveredEvent) -> None:
        before = self._notifications.setdefault(event.number, post)
        if before.digest != post.digest:
            then = f"then in another body ({post.notification})"
            self.verdict.report("retry", f"{self.name} #{event.number} came in {before.notification}, {then}")

    def _accept(self, event: DeliveredEvent, *, can_repeat: bool) -> None:
        if event.number > self.highest:
            if event.number != self.highest + 1:
                self.verdict.report("gap", f"{self.name} accepted #{event.number} after #{self.highest}")
            self.highest = event.number
            number = self.accepted.setdefault(event.change, event.number)
            if number != event.number:
                numbers = f"#{number} and as #{event.number}"
                self.verdict.report(
                    "renumber", f"{self.name} accepted {_describe(event.change)} as {numbers}"
                )
            return
        if any(request.first <= event.number <= request.last for request in self._resend_requests):
            return
        self.verdict.duplicates += 1
        if not can_repeat:
            self.verdict.report("duplicate", f"{self.name} accepted #{event.number} twice")

    def compare(self, subscription: SubscriptionActivated, requests: dict[Change, ChangeRequest]) -> None:
        """Compares the events with the requested changes, in the order of the numbers."""
        last: dict[str, DeliveredEvent] = {}
        for number in sorted(self.events):
            event = self.events[number]
            described = f"{self.name} #{number} is {_describe(event.change)}"
            request = requests.get(event.change)
            if (
                request is None
                or event.patient != request.patient
                or request.patient not in subscription.patients
            ):
                why = "which nobody requested" if request is None else f"of {event.patient}"
                self.verdict.report("foreign", f"{described}, {why}")
            elif request.answer is Answer.REFUSED:
                self.verdict.report("refused", f"{described}, which was refused")
            elif request.version and request.version != event.version:
                versions = f"as version {event.version}, acknowledged as {request.version}"
                self.verdict.report("foreign", f"{described} {versions}")
            before = last.get(event.resource)
            if before is not None and (event.sequence < before.sequence or event.version < before.version):
                self.verdict.report("order", f"{described}, after {_describe(before.change)}")
            last[event.resource] = event


def _describe(change: Change) -> str:
    resource, sequence = change
    return f"{resource} change {sequence}"
