"""The history of one run, as seen from outside the broker: requests, answers, notifications and injected
faults.

The checker reads nothing else. The history is written as JSON lines during the run, so that a failed or
hanging run can be read too; `History.read` loads it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Self, TypeAlias


class Answer(StrEnum):
    """What a producer knows about its request."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # 4xx: it must not become an event
    UNKNOWN = "unknown"  # 5xx, or no answer: it may have been written


@dataclass(frozen=True, slots=True)
class SubscriptionActivated:
    """A subscription was seen active at `at_ms`. It must receive the changes of `patients` that are requested
    from then on.
    """

    subscription: str
    patients: tuple[str, ...]
    at_ms: float


@dataclass(frozen=True, slots=True)
class Deactivated:
    """From `at_ms` until it is seen active again, the subscription is off and must receive nothing new."""

    subscription: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """One change, and the answer to its last request. `sequence` counts the changes of the resource from 1,
    and is in its body.

    The producer repeats a request under the same idempotency key until it gets a definite answer, `attempts`
    times in all.
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
class DeliveredEvent:
    """One event of a notification: its number, the version of its resource, and a digest of the content."""

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
class NotificationPost:
    """One POST as the endpoint saw it. `answered` is the status of the answer, 0 for none; `is_written`: the
    answer was sent in full.
    """

    subscription: str
    type: str
    status: str
    notification: str
    digest: str
    events: tuple[DeliveredEvent, ...]
    at_ms: float
    answered: int
    is_written: bool

    @property
    def is_success(self) -> bool:
        return self.is_written and 200 <= self.answered < 300


@dataclass(frozen=True, slots=True)
class Fault:
    """An injected fault. `can_repeat`: an answer may have been lost, so the notification under way may come
    twice.
    """

    name: str
    at_ms: float
    can_repeat: bool = True


@dataclass(frozen=True, slots=True)
class ResendRequested:
    """A client requested a resend, both ends inclusive: the numbers may come again in other notifications."""

    subscription: str
    first: int
    last: int
    at_ms: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """A fault ended, and the first notification arrived `after_s` later."""

    name: str
    after_s: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class ResourceWritten:
    """The channel `fhir-write` wrote a change to an EHR, where the resource is `ehr_id` and the patient
    `ehr_patient`. A change may be written several times.
    """

    subscription: str
    resource: str
    sequence: int
    patient: str
    ehr_patient: str
    ehr_id: str
    at_ms: float

    @property
    def change(self) -> "Change":
        return self.resource, self.sequence


Change: TypeAlias = tuple[str, int]
Record: TypeAlias = (
    SubscriptionActivated
    | Deactivated
    | ChangeRequest
    | NotificationPost
    | Fault
    | ResendRequested
    | ResourceWritten
    | Recovery
)
_RECORD_TYPES: dict[str, type[Record]] = {
    record.__name__: record
    for record in (
        SubscriptionActivated,
        Deactivated,
        ChangeRequest,
        NotificationPost,
        Fault,
        ResendRequested,
        ResourceWritten,
        Recovery,
    )
}


def to_line(record: Record) -> str:
    return json.dumps({"kind": type(record).__name__, **asdict(record)}, separators=(",", ":"))


def from_line(line: str) -> Record:
    values: dict[str, Any] = json.loads(line)
    kind = _RECORD_TYPES[values.pop("kind")]
    if kind is NotificationPost:
        values["events"] = tuple(DeliveredEvent(**event) for event in values["events"])
    elif kind is SubscriptionActivated:
        values["patients"] = tuple(values["patients"])
    elif kind is ChangeRequest:
        values["answer"] = Answer(values["answer"])
    return kind(**values)


@dataclass(slots=True)
class History:
    """Records in order of time. Each is written to `file` as a line at once."""

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
        for record in records:
            self.add(record)

    def posts(self, subscription: str | None = None) -> Iterator[NotificationPost]:
        for record in self.records:
            if isinstance(record, NotificationPost) and subscription in {None, record.subscription}:
                yield record

    def faults(self) -> Iterator[Fault]:
        return (record for record in self.records if isinstance(record, Fault))

    def recoveries(self) -> Iterator[Recovery]:
        return (record for record in self.records if isinstance(record, Recovery))
