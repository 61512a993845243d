"""What happened in one run, as seen from outside the broker: what was asked of it, what it answered, what it sent, what was broken.

The checker reads nothing else. A history is written as JSON lines while the run goes on, so that a run that failed, or hangs, can be
read; `History.read` gives it back.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Self, TypeAlias


class Answer(StrEnum):
    """What a producer knows of its request."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # 4xx: nothing may come of it
    UNKNOWN = "unknown"  # 5xx, or no answer: it may have been written or not


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription that was seen active at `at_ms`; it is told of the changes of `patients` that were requested from then on."""

    subscription: str
    patients: tuple[str, ...]
    at_ms: float


@dataclass(frozen=True, slots=True)
class Lapsed:
    """From `at_ms` until it is seen active again, the subscription is told of nothing new: it is off."""

    subscription: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class Requested:
    """One change and how its last request ended. `sequence` counts the changes of the resource from 1, and is in its body.

    The producer repeats a request under the same idempotency key until it knows; `attempts` is how often it sent.
    """

    resource: str
    sequence: int
    patient: str
    at_ms: float
    answered_ms: float
    answer: Answer
    version: int = 0
    attempts: int = 1

    @property
    def change(self) -> "Change":
        return self.resource, self.sequence


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a notification: its number, the version of the resource it is about, and the content that came with it."""

    number: int
    resource: str
    version: int
    sequence: int
    patient: str
    digest: str

    @property
    def change(self) -> "Change":
        return self.resource, self.sequence


@dataclass(frozen=True, slots=True)
class Posted:
    """One POST as the endpoint saw it. `answered` is the status it gave, 0 for none; `is_written` whether the answer went out whole."""

    subscription: str
    type: str
    status: str
    notification: str
    digest: str
    events: tuple[Told, ...]
    at_ms: float
    answered: int
    is_written: bool

    @property
    def is_success(self) -> bool:
        return self.is_written and 200 <= self.answered < 300


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was broken on purpose. `can_repeat`: an answer may have been lost with it, so what was under way may come twice."""

    name: str
    at_ms: float
    can_repeat: bool = True


@dataclass(frozen=True, slots=True)
class Redriven:
    """Somebody asked for numbers to be sent again, both ends inclusive: they may come again, in other notifications than before."""

    subscription: str
    first: int
    last: int
    at_ms: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was broken works again, and the first notification got through `after_s` later."""

    name: str
    after_s: float
    at_ms: float


Change: TypeAlias = tuple[str, int]
Record: TypeAlias = Subscribed | Lapsed | Requested | Posted | Fault | Redriven | Recovered
_KINDS: dict[str, type[Record]] = {
    one.__name__: one for one in (Subscribed, Lapsed, Requested, Posted, Fault, Redriven, Recovered)
}


def to_line(record: Record) -> str:
    return json.dumps({"kind": type(record).__name__, **asdict(record)}, separators=(",", ":"))


def from_line(line: str) -> Record:
    values: dict[str, Any] = json.loads(line)
    kind = _KINDS[values.pop("kind")]
    if kind is Posted:
        values["events"] = tuple(Told(**one) for one in values["events"])
    elif kind is Subscribed:
        values["patients"] = tuple(values["patients"])
    elif kind is Requested:
        values["answer"] = Answer(values["answer"])
    return kind(**values)


@dataclass(slots=True)
class History:
    """Records in the order they happened; `file` takes each as a line, at once."""

    records: list[Record] = field(default_factory=list)
    file: IO[str] | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        with path.open() as lines:
            return cls([from_line(line) for line in lines])

    def add(self, record: Record) -> None:
        self.records.append(record)
        if self.file is not None:
            self.file.write(to_line(record) + "\n")

    def extend(self, records: Iterable[Record]) -> None:
        for one in records:
            self.add(one)

    def posts(self, subscription: str | None = None) -> Iterator[Posted]:
        for one in self.records:
            if isinstance(one, Posted) and subscription in {None, one.subscription}:
                yield one

    def faults(self) -> Iterator[Fault]:
        return (one for one in self.records if isinstance(one, Fault))

    def recoveries(self) -> Iterator[Recovered]:
        return (one for one in self.records if isinstance(one, Recovered))
