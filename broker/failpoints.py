"""Places where a test may have the process fail: `failpoints.hit("matcher.after-read")` does nothing unless that name is armed.

A process arms them once, at start, from BROKER_FAILPOINT: `name:action@k`, several separated by commas. The action is taken when the
place is passed for the k-th time (from 1; once is the default), and once only:

    kill         SIGKILL to this process
    pause=<ms>   the whole process stands still, its event loop too
    error        a `Failure`, as a bug would raise
    unavailable  `StoreUnavailable`, as if the answer of the store were lost

Nothing armed, a call costs one look at a global (about 60 ns).
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
_FORM = re.compile(r"([a-z.-]+):(kill|error|unavailable|pause=(\d{1,6}))(?:@([1-9]\d{0,8}))?")


class Failure(RuntimeError):  # noqa: N818 it stands for any bug
    """Raised where a failpoint's action is `error`."""


@dataclass(frozen=True, slots=True)
class Failpoint:
    """What happens when the place `name` is passed for the `nth` time."""

    name: Name
    action: str
    nth: int
    pause_ms: int = 0


class _Armed:
    """The failpoints of this process, and how often each place was passed."""

    def __init__(self, wanted: Sequence[Failpoint]) -> None:
        self._left: dict[str, list[Failpoint]] = {}
        for one in wanted:
            self._left.setdefault(one.name, []).append(one)
        self.passed: dict[str, int] = dict.fromkeys(self._left, 0)

    def hit(self, name: str) -> None:
        if name not in self.passed:
            return
        self.passed[name] += 1
        for one in [one for one in self._left[name] if one.nth == self.passed[name]]:
            self._left[name].remove(one)
            _ACTIONS[one.action](one)


def _kill(_: Failpoint) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _pause(one: Failpoint) -> None:
    time.sleep(one.pause_ms / 1000)


def _error(one: Failpoint) -> None:
    raise Failure(f"failpoint {one.name}")


def _unavailable(one: Failpoint) -> None:
    raise StoreUnavailable(f"failpoint {one.name}")


_ACTIONS: Mapping[str, Callable[[Failpoint], None]] = {
    "kill": _kill,
    "pause": _pause,
    "error": _error,
    "unavailable": _unavailable,
}
_armed: _Armed | None = None


def parse(text: str) -> tuple[Failpoint, ...]:
    """Raises ValueError for another grammar and for a name that is no place."""
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(part: str) -> Failpoint:
    found = _FORM.fullmatch(part)
    name = next((one for one in NAMES if found and one == found[1]), None)
    if found is None or name is None:
        raise ValueError(part)
    return Failpoint(name, found[2].partition("=")[0], int(found[4] or 1), int(found[3] or 0))


def arm(wanted: Sequence[Failpoint]) -> None:
    """Replaces what was armed before; nothing wanted, nothing is looked at any more."""
    global _armed  # noqa: PLW0603 one process, one set of failpoints; looked at on every hit
    _armed = _Armed(wanted) if wanted else None


def passed() -> Mapping[str, int]:
    """How often each armed place was passed."""
    return dict(_armed.passed) if _armed is not None else {}


def hit(name: Name) -> None:
    """This place was passed."""
    if _armed is not None:
        _armed.hit(name)
