"""Judges a history by the broker's promises. Pure: the same history gives the same verdict.

The rules, by the name a finding carries:

    loss       an acknowledged change, requested while a subscription to its patient was active, was never taken by its endpoint
    gap        the numbers an endpoint took for the first time are not 1, 2, 3, … in that order
    reuse      one number stood for two events: another resource, version or content
    renumber   one change came under two numbers of one subscription
    retry      a number came again, not asked for, in a notification that was not the same byte by byte
    order      changes of one resource were numbered in another order than they were made
    foreign    an event of a patient the subscription is not for, or of a change that nobody requested, or not with its content
    refused    an event of a change that the producer was refused
    duplicate  a number was taken twice although nothing had been broken that could lose an answer, and nobody had asked for it

Changes whose answer nobody knows may come or not; if they come, all the other rules hold for them too.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.history import (
    Answer,
    Change,
    Fault,
    History,
    Lapsed,
    Posted,
    Redriven,
    Requested,
    Subscribed,
    Told,
)

SHOWN = 20
"""Findings of one rule that are spelt out; the count is of all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was not kept."""

    rule: str
    text: str


@dataclass(slots=True)
class Verdict:
    """What a history comes to. `broken` counts every finding by rule; `findings` spells out the first of each."""

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

    def blame(self, rule: str, text: str) -> None:
        self.broken[rule] += 1
        if self.broken[rule] <= SHOWN:
            self.findings.append(Finding(rule, text))

    def __str__(self) -> str:
        counts = f"acknowledged {self.acknowledged}, owed {self.owed}, delivered {self.delivered}, duplicates {self.duplicates}"
        return "\n".join([counts, *(f"{one.rule}: {one.text}" for one in self.findings)])


def check(history: History) -> Verdict:
    """Every rule, over the whole history."""
    verdict = Verdict()
    requests = {one.change: one for one in history.records if isinstance(one, Requested)}
    verdict.acknowledged = sum(one.answer is Answer.ACKNOWLEDGED for one in requests.values())
    verdict.unknown = sum(one.answer is Answer.UNKNOWN for one in requests.values())
    subscriptions = {one.subscription: one for one in history.records if isinstance(one, Subscribed)}
    courses = _courses(history, verdict)
    for name, course in courses.items():
        if name in subscriptions:
            course.compare(subscriptions[name], requests)
        elif course.events:
            verdict.blame("foreign", f"{name} is no subscription of this run and was told of events")
    periods = _periods(history)
    for name, subscribed in subscriptions.items():
        taken = courses[name].taken if name in courses else {}
        _find_losses(subscribed, periods[name], requests, taken, verdict)
    verdict.delivered = sum(len(course.taken) for course in courses.values())
    return verdict


def _courses(history: History, verdict: Verdict) -> "dict[str, _Course]":
    """What each endpoint was sent, judged by the rules that need no more than that."""
    courses: dict[str, _Course] = {}
    can_repeat = False
    for record in history.records:
        if isinstance(record, Fault):
            can_repeat = can_repeat or record.can_repeat
        elif isinstance(record, Posted | Redriven):
            course = courses.setdefault(record.subscription, _Course(record.subscription, verdict))
            if isinstance(record, Redriven):
                course.redrive(record)
            else:
                course.post(record, can_repeat=can_repeat)
    return courses


def _periods(history: History) -> dict[str, list[tuple[float, float]]]:
    """When each subscription was known to be active."""
    periods: dict[str, list[tuple[float, float]]] = {}
    for record in history.records:
        if isinstance(record, Subscribed):
            periods.setdefault(record.subscription, []).append((record.at_ms, math.inf))
        elif isinstance(record, Lapsed):
            begun, _ = periods[record.subscription].pop()
            periods[record.subscription].append((begun, record.at_ms))
    return periods


def _find_losses(
    subscribed: Subscribed,
    periods: Sequence[tuple[float, float]],
    requests: dict[Change, Requested],
    taken: dict[Change, int],
    verdict: Verdict,
) -> None:
    for change, request in requests.items():
        if (
            request.answer is Answer.ACKNOWLEDGED
            and request.patient in subscribed.patients
            and any(begun <= request.at_ms < ended for begun, ended in periods)
        ):
            verdict.owed += 1
            if change not in taken:
                verdict.blame("loss", f"{subscribed.subscription} never took {_spelt(change)}")


@dataclass(slots=True)
class _Course:
    """The notifications of one subscription, one after the other."""

    name: str
    verdict: Verdict
    highest: int = 0
    events: dict[int, Told] = field(default_factory=dict)
    """What each number stood for when it was seen first."""
    taken: dict[Change, int] = field(default_factory=dict)
    """The changes the endpoint took, in the order of their numbers, each with its number."""
    _carriers: dict[int, Posted] = field(default_factory=dict)
    """The notification a number came in, since the last handshake."""
    _asked_again: list[Redriven] = field(default_factory=list)

    def redrive(self, asked: Redriven) -> None:
        self._asked_again.append(asked)
        for number in range(asked.first, asked.last + 1):
            self._carriers.pop(number, None)

    def post(self, post: Posted, *, can_repeat: bool) -> None:
        if post.type == "handshake":
            self._carriers.clear()  # a new registration makes notifications anew
        for told in post.events:
            self._identify(told)
            self._compare_carriers(post, told)
            if post.is_success:
                self._take(told, can_repeat=can_repeat)

    def _identify(self, told: Told) -> None:
        known = self.events.setdefault(told.number, told)
        if known != told:
            self.verdict.blame(
                "reuse",
                f"{self.name} #{told.number} was {_spelt(known.change)}, then {_spelt(told.change)} or another body",
            )

    def _compare_carriers(self, post: Posted, told: Told) -> None:
        before = self._carriers.setdefault(told.number, post)
        if before.digest != post.digest:
            self.verdict.blame(
                "retry",
                f"{self.name} #{told.number} came in {before.notification}, then in another body ({post.notification})",
            )

    def _take(self, told: Told, *, can_repeat: bool) -> None:
        if told.number > self.highest:
            if told.number != self.highest + 1:
                self.verdict.blame("gap", f"{self.name} took #{told.number} after #{self.highest}")
            self.highest = told.number
            number = self.taken.setdefault(told.change, told.number)
            if number != told.number:
                self.verdict.blame(
                    "renumber", f"{self.name} took {_spelt(told.change)} as #{number} and as #{told.number}"
                )
            return
        if any(asked.first <= told.number <= asked.last for asked in self._asked_again):
            return
        self.verdict.duplicates += 1
        if not can_repeat:
            self.verdict.blame("duplicate", f"{self.name} took #{told.number} twice")

    def compare(self, subscribed: Subscribed, requests: dict[Change, Requested]) -> None:
        """What was told against what was asked for, in the order of the numbers."""
        last: dict[str, Told] = {}
        for number in sorted(self.events):
            told = self.events[number]
            request = requests.get(told.change)
            if (
                request is None
                or told.patient != request.patient
                or request.patient not in subscribed.patients
            ):
                why = "which nobody requested" if request is None else f"of {told.patient}"
                self.verdict.blame("foreign", f"{self.name} #{number} is {_spelt(told.change)}, {why}")
            elif request.answer is Answer.REFUSED:
                self.verdict.blame(
                    "refused", f"{self.name} #{number} is {_spelt(told.change)}, which was refused"
                )
            elif request.version and request.version != told.version:
                self.verdict.blame(
                    "foreign",
                    f"{self.name} #{number} has {_spelt(told.change)} as version {told.version}, acknowledged as {request.version}",
                )
            before = last.get(told.resource)
            if before is not None and (told.sequence < before.sequence or told.version < before.version):
                self.verdict.blame(
                    "order", f"{self.name} #{number} is {_spelt(told.change)}, after {_spelt(before.change)}"
                )
            last[told.resource] = told


def _spelt(change: Change) -> str:
    resource, sequence = change
    return f"{resource} change {sequence}"
