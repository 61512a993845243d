"""Failpoints: named places where a test can make this process fail.

The code calls `failpoints.hit("matcher.after-read")` at each place; this does nothing unless that name is
armed. A process arms failpoints once, at start, from BROKER_FAILPOINT: `name:action@k`, several separated by
commas. The action is taken when the place is passed for the k-th time (counted from 1, which is the default),
and only then:

    kill         SIGKILL to this process
    pause=<ms>   the whole process pauses, its event loop too
    error        raises `Failure`, as a bug would
    unavailable  raises `StoreUnavailable`, as if the store's answer were lost

With nothing armed, a call costs one look at a global variable (about 60 ns).
"""

import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from broker.errors import StoreUnavailable

Name: TypeAlias = Literal[
    "intake.before-append",
    "intake.after-append",
    "intake.before-answer",
    "inbox.after-read",
    "inbox.before-finish",
    "readings.before-commit",
    "readings.after-commit",
    "registration.stored",
    "matcher.after-read",
    "matcher.after-follow",
    "matcher.between-appends",
    "matcher.before-ack",
    "matcher.after-ack",
    "delivery.claimed",
    "delivery.built",
    "delivery.sent",
    "delivery.answered",
    "delivery.before-commit",
    "delivery.after-commit",
    "delivery.rescheduled",
    "status.changed",
    "handshake.before",
    "handshake.after",
]
NAMES: tuple[Name, ...] = get_args(Name)
_SYNTAX = re.compile(r"([a-z.-]+):(kill|error|unavailable|pause=(\d{1,6}))(?:@([1-9]\d{0,8}))?")


class Failure(RuntimeError):  # noqa: N818 it stands for any bug
    """Raised where the action of a failpoint is `error`."""


@dataclass(frozen=True, slots=True)
class Failpoint:
    """The action taken when the place `name` is passed for the `nth` time."""

    name: Name
    action: str
    nth: int
    pause_ms: int = 0


class _Armed:
    """The armed failpoints of this process, and how often each place was passed."""

    def __init__(self, failpoints: Sequence[Failpoint]) -> None:
        self._pending: dict[str, list[Failpoint]] = {}
        for failpoint in failpoints:
            self._pending.setdefault(failpoint.name, []).append(failpoint)
        self.passed: dict[str, int] = dict.fromkeys(self._pending, 0)

    def hit(self, name: str) -> None:
        if name not in self.passed:
            return
        self.passed[name] += 1
        for failpoint in list(self._pending[name]):
            if failpoint.nth == self.passed[name]:
                self._pending[name].remove(failpoint)
                _ACTIONS[failpoint.action](failpoint)


def _kill(_: Failpoint) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _pause(failpoint: Failpoint) -> None:
    time.sleep(failpoint.pause_ms / 1000)


def _error(failpoint: Failpoint) -> None:
    raise Failure(f"failpoint {failpoint.name}")


def _unavailable(failpoint: Failpoint) -> None:
    raise StoreUnavailable(f"failpoint {failpoint.name}")


_ACTIONS: Mapping[str, Callable[[Failpoint], None]] = {
    "kill": _kill,
    "pause": _pause,
    "error": _error,
    "unavailable": _unavailable,
}
_armed: _Armed | None = None


def parse(text: str) -> tuple[Failpoint, ...]:
    """Raises `ValueError` for wrong syntax and for an unknown name."""
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(part: str) -> Failpoint:
    match = _SYNTAX.fullmatch(part)
    name = next((name for name in NAMES if match and name == match[1]), None)
    if match is None or name is None:
        raise ValueError(part)
    return Failpoint(name, match[2].partition("=")[0], int(match[4] or 1), int(match[3] or 0))


def arm(failpoints: Sequence[Failpoint]) -> None:
    """Replaces what was armed before; an empty sequence disarms all."""
    global _armed  # noqa: PLW0603 one set of failpoints a process, read on every hit
    _armed = _Armed(failpoints) if failpoints else None


def passed() -> Mapping[str, int]:
    """How often each armed place was passed."""
    return dict(_armed.passed) if _armed is not None else {}


def hit(name: Name) -> None:
    """Marks that this place was passed, and takes the armed action if it is due."""
    if _armed is not None:
        _armed.hit(name)
