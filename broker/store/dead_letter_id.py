"""Ids of dead letters: what kind it is, and where it is stored. They are unique within a tenant."""

import re
from enum import StrEnum
from typing import NamedTuple

from broker.model.subscription import SubscriptionId

_CHANGE = re.compile(r"change-(\d{1,4})-(\d{1,15}-\d{1,15})")
_EVENT = re.compile(r"event-([A-Za-z0-9.-]{1,64})-(\d{1,15})")
_READING = re.compile(r"reading-(\d{1,15}-\d{1,15})")
_INBOX = re.compile(r"inbox-(\d{1,15}-\d{1,15})")


class DeadLetterKind(StrEnum):
    """What could not be processed."""

    CHANGE = "change"
    EVENT = "event"
    INBOX = "inbox"
    READING = "reading"


class DeadChangeId(NamedTuple):
    """A change: its partition, and its entry in the stream of dead letters."""

    partition: int
    entry: str

    def __str__(self) -> str:
        return f"{DeadLetterKind.CHANGE}-{self.partition}-{self.entry}"

    @property
    def position(self) -> str:
        """Where it is among the others of its partition."""
        return self.entry


class DeadEventId(NamedTuple):
    """An event of a subscription."""

    subscription: SubscriptionId
    number: int

    def __str__(self) -> str:
        return f"{DeadLetterKind.EVENT}-{self.subscription}-{self.number}"

    @property
    def position(self) -> str:
        """Where it is among the others of its subscription."""
        return str(self.number)


class DeadInboxId(NamedTuple):
    """A refused inbox entry, by its entry in the stream of dead letters."""

    entry: str

    def __str__(self) -> str:
        return f"{DeadLetterKind.INBOX}-{self.entry}"

    @property
    def position(self) -> str:
        """Where it is among the others of the inbox."""
        return self.entry


class DeadReadingId(NamedTuple):
    """A quarantined reading, by its entry in the stream of its tenant."""

    entry: str

    def __str__(self) -> str:
        return f"{DeadLetterKind.READING}-{self.entry}"

    @property
    def position(self) -> str:
        """Where it is among the others."""
        return self.entry


DeadLetterId = DeadChangeId | DeadEventId | DeadInboxId | DeadReadingId


def parse_dead_letter_id(text: str) -> DeadLetterId | None:
    """None for a text that is no id of a dead letter."""
    if match := _CHANGE.fullmatch(text):
        return DeadChangeId(int(match[1]), match[2])
    if match := _EVENT.fullmatch(text):
        return DeadEventId(SubscriptionId(match[1]), int(match[2]))
    if match := _INBOX.fullmatch(text):
        return DeadInboxId(match[1])
    if match := _READING.fullmatch(text):
        return DeadReadingId(match[1])
    return None
