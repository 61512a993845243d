"""What stands before intake: a decoder turns an entry of a source into the changes that it requests.

`fhir_decoder.py` has the decoder of the inbox stream. A decoder of device readings, HL7 v2 or MQTT payloads
implements the same protocol.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from broker.ingest.requests import ChangeRequest
from broker.ingest.transactions import TransactionEntry
from broker.model.trace import parse_traceparent


class Entry(Protocol):
    """One entry of a source, not checked yet.

    `id` is unique in the source; `fields` are what the producer wrote.
    """

    @property
    def id(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, bytes]: ...


def traceparent_of(entry: Entry) -> str:
    """The trace of the producer; '' without one, and for one that is malformed, as in HTTP."""
    return parse_traceparent(entry.fields.get("traceparent", b"").decode(errors="replace"))


class Transaction(NamedTuple):
    """Changes of which all are accepted or none."""

    entries: Sequence[TransactionEntry]


class Decoder(Protocol):
    """Decodes the entries of one source."""

    def decode(self, entry: Entry) -> Sequence[ChangeRequest] | Transaction:
        """The changes that the entry requests, in their order, or its transaction.

        Raises `RequestError` with the field or element that is wrong.

        A source may deliver an entry again after a crash, so each request needs an idempotency key that the
        entry determines.
        """
        ...
