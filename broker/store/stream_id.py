"""Ids of Redis stream entries, `<milliseconds>-<sequence>`: parsed, formatted and compared here and nowhere
else.

Redis orders the entries of a stream by these two numbers. Streams that Redis numbers itself carry the time of
the entry in the first one; an outbox uses the event number there, and the registry log counts in the second
one without gaps.
"""

from typing import NamedTuple, Self


class StreamId(NamedTuple):
    """One entry id. Ids compare as Redis orders them, not as text."""

    ms: int
    sequence: int

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Reads an id; without a sequence it means sequence 0. Raises `ValueError` for anything else."""
        ms, _, sequence = (text.decode() if isinstance(text, bytes) else text).partition("-")
        return cls(int(ms), int(sequence or 0))

    @property
    def next(self) -> "StreamId":
        """The smallest id behind this one."""
        return StreamId(self.ms, self.sequence + 1)

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


FIRST = "-"
"""The smallest id of a stream, as XRANGE spells it."""
LAST = "+"
"""The largest one."""


def text_of(entry_id: str | bytes) -> str:
    """The id as text."""
    return entry_id.decode() if isinstance(entry_id, bytes) else entry_id


def after(entry_id: str | bytes) -> str:
    """The bound of a range that starts behind an entry."""
    return f"({text_of(entry_id)}"


def of_event(number: int) -> str:
    """The id of an event in its outbox."""
    return f"{number}-0"


def event_number(entry_id: str | bytes) -> int:
    """The number of the event that an outbox entry holds."""
    return int(text_of(entry_id).partition("-")[0])
