"""What a device's payload stands for: readings, and problems of what could not be mapped.

A mapping gives these values; `ingest/` resolves the identities and stores the Observations, or keeps the
payload with its problems as a dead letter. A problem names mapping, field and place, never a value of the
payload: it goes into logs and answers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol


class Identifier(NamedTuple):
    """A business identifier. `system` is a URI and never empty."""

    system: str
    value: str


class IdentityPolicy(StrEnum):
    """What is done with the Device or Patient of an identifier."""

    CREATE = "create"  # looked up, and created if there is none
    LOOKUP = "lookup"  # looked up; a reading of an unknown one is quarantined
    REFUSE = "refuse"  # a reading that names one is refused


class DeviceIdentity(NamedTuple):
    """The Device that measured. `policy` None: that of the broker's setting. `resource`: R4 elements for a
    Device that is created (manufacturer, modelNumber, serialNumber, type, ...), without `resourceType`,
    `identifier` and `status`.
    """

    identifier: Identifier
    policy: IdentityPolicy | None
    resource: Mapping[str, object]


class PatientIdentity(NamedTuple):
    """The Patient who was measured. `policy` and `resource` as in `DeviceIdentity`."""

    identifier: Identifier
    policy: IdentityPolicy | None
    resource: Mapping[str, object]


class Merge(NamedTuple):
    """The Observation of the reading is that of all readings of its time, hour or day (UTC), or of one `key`.
    `window` is `time`, `hour`, `day` or ''. `required` are the components that it always has, as they are
    without a value.
    """

    window: str
    key: str
    required: tuple[Mapping[str, object], ...] = ()


class MappedReading(NamedTuple):
    """One Observation that a payload stands for.

    `patient` None: whoever the device is associated with at the effective time. `start` and `end` are aware;
    with `end`, the Observation has an effectivePeriod. `clock_offset_s` is what the device reported about its
    clock: seconds that it is ahead; `start` and `end` are as the device said, not corrected.

    `resource` is R4 Observation JSON without `subject`, `device`, `encounter`, `identifier`, `issued`,
    `effective[x]` and `status`. Its numbers are `Decimal` or `int` and have the digits of the payload.
    """

    mapping: str
    """The name of the mapping that gave it."""
    device: DeviceIdentity
    patient: PatientIdentity | None
    encounter: Identifier | None
    start: datetime
    end: datetime | None
    text_of_time: str
    """The time as the payload has it; '' if the payload has none and the time of receipt was taken."""
    clock_offset_s: float
    correction: str
    """'' or an Observation status: `corrected`, `amended`, `entered-in-error`."""
    discriminator: str
    """What tells it from other readings of this device, code and time, such as a sequence number, or ''."""
    resource: Mapping[str, object]
    name: str = ""
    """Which observation of the mapping it is."""
    item: int = 0
    """Which of the readings that the mapping selects in the payload it is of, from 0."""
    members: tuple[str, ...] = ()
    """A panel's: the names of the observations of the same item that its `hasMember` is to reference."""
    merge: Merge | None = None
    """With which other readings it is one Observation, also of other payloads."""


class ReadingProblem(NamedTuple):
    """Why a payload, or one reading of it, was not mapped."""

    code: str
    """A FHIR issue type."""
    reason: str
    """A slug: `no-mapping`, `ambiguous-mapping`, `missing-field`, `unknown-unit`, `impossible-value`,
    `unknown-code`, `malformed`, `refused-identity`."""
    mapping: str
    """The name of the mapping; '' if none matched."""
    field: str
    """The field of the mapping, such as `value.unit`."""
    place: str
    """Where in the payload, such as `readings[2].hr`."""
    text: str
    """What happened and what to do next; never contains a value of the payload."""
    candidates: tuple[str, ...] = ()
    """What it could have been: the mappings that match, or the units that the mapping knows."""


class PayloadMapper(Protocol):
    """Maps payloads. `mapping_set.MappingSet` is one."""

    def map(self, payload: object, received: datetime) -> Sequence[MappedReading | ReadingProblem]:
        """What the payload stands for, in its order. Never raises for what is in a payload, and is never
        empty. `payload` is parsed JSON, with `Decimal` for numbers that have a fraction or exponent;
        `received` is aware, and the time of a reading whose mapping says so.
        """
        ...
