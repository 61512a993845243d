"""How the broker treats readings, apart from what their mappings say. The settings give it."""

from datetime import timedelta
from typing import Literal, NamedTuple

from broker.mapping.reading import IdentityPolicy


class ReadingPolicy(NamedTuple):
    """`devices` and `patients`: what is done with an identifier that a mapping has no policy for.

    `implausible_time`: whether a reading with such a time is quarantined or accepted with a flag. A time is
    implausible that is later than the arrival by more than `future`, that a clock without a battery shows, or
    that is before the device was made or first in use.
    """

    devices: IdentityPolicy = IdentityPolicy.CREATE
    patients: IdentityPolicy = IdentityPolicy.LOOKUP
    implausible_time: Literal["quarantine", "flag"] = "quarantine"
    future: timedelta = timedelta(minutes=5)
    creates_metrics: bool = True
