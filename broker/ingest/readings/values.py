"""What producers send as readings, and what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from broker.mapping.reading import ReadingProblem
from broker.model.audit import NOBODY, Requester
from broker.model.change import Tenant

JSON, CSV = "json", "csv"
GATT = "gatt:"
"""A format that names a Bluetooth characteristic is `gatt:` and its number, such as `gatt:2A35`."""


class RawReading(NamedTuple):
    """One payload of a device, as it came. `content` is one JSON value, a CSV header and one line, or the
    value of a characteristic; `format` says which.

    `key` makes a payload without a time of its own idempotent: the same key is the same reading. Payloads
    that have a time need none. `parameters` are what the producer says besides: `device`, `patient` and
    `offset` of a GATT value, and `gateway`, each identifier as `system|value`. With `keeps_refused`, what
    would be refused is quarantined: the producer does not hear the answer. `decoded` is the payload object if
    the way in has decoded the content already, else None.
    """

    tenant: Tenant
    content: bytes
    format: str
    received: datetime
    key: str = ""
    requester: Requester = NOBODY
    parameters: Mapping[str, str] = MappingProxyType({})
    trace: str = ""
    keeps_refused: bool = False
    decoded: object = None


class ReadingStatus(StrEnum):
    """What became of a payload, or of one Observation of it."""

    ACCEPTED = "accepted"  # a new Observation, or a correction of one
    DUPLICATE = "duplicate"  # stored before: nothing written, no event
    QUARANTINED = "quarantined"  # kept as a dead letter
    REFUSED = "refused"  # not kept: the producer corrects it and sends it again


class StoredReading(NamedTuple):
    """One Observation that a payload stands for: `reference` is `Observation/id`."""

    status: ReadingStatus
    reference: str
    version: int


class ReadingResult(NamedTuple):
    """What became of a payload. Of one that is quarantined, some Observations may be stored.

    `dead_letter` is the id of the dead letter of one that is quarantined.
    """

    status: ReadingStatus
    observations: Sequence[StoredReading] = ()
    problems: Sequence[ReadingProblem] = ()
    dead_letter: str = ""
