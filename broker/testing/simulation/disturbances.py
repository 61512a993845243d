"""What goes wrong between a sensor and the broker: repetitions, delays, payloads that are no readings.

Each sample has one fault at most, drawn with the given shares from the seed.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from broker.testing.simulation.devices import Sample


class Fault(StrEnum):
    """What happened to the payload of a sample."""

    NONE = "none"
    DUPLICATE = "duplicate"
    """It was sent before, as it is."""
    LATE = "late"
    """Readings of a later time were sent before it."""
    CORRUPT = "corrupt"
    """It cannot be a reading."""


@dataclass(frozen=True, slots=True)
class Disturbances:
    """The shares of samples, each from 0 to 1, that are sent twice, sent late, or sent corrupt.

    A late one is sent up to `delay` samples later.
    """

    duplicates: float = 0.0
    late: float = 0.0
    corrupt: float = 0.0
    delay: int = 50

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        shares = (self.duplicates, self.late, self.corrupt)
        if any(share < 0 for share in shares) or sum(shares) > 1:
            raise ValueError("the shares of duplicate, late and corrupt readings are from 0 to 1 together")


class Emission(NamedTuple):
    """What is sent: the payload of a sample, and what happened to it."""

    sample: Sample
    payload: bytes
    fault: Fault


def disturbed(
    of: Iterable[Sample], payload: Callable[[Sample], bytes], disturbances: Disturbances, seed: int
) -> Iterator[Emission]:
    """The payloads in the order in which they are sent."""
    source = random.Random(seed)
    waiting: list[tuple[int, Emission]] = []
    for position, sample in enumerate(of):
        drawn = source.random()
        text = payload(sample)
        duplicates, corrupt = disturbances.duplicates, disturbances.corrupt
        if drawn < corrupt:
            yield Emission(sample, _corrupted(sample, text, source), Fault.CORRUPT)
        elif drawn < corrupt + duplicates:
            yield Emission(sample, text, Fault.NONE)
            due = position + 1 + source.randrange(disturbances.delay)
            waiting.append((due, Emission(sample, text, Fault.DUPLICATE)))
        elif drawn < corrupt + duplicates + disturbances.late:
            due = position + 1 + source.randrange(disturbances.delay)
            waiting.append((due, Emission(sample, text, Fault.LATE)))
        else:
            yield Emission(sample, text, Fault.NONE)
        for due, emission in [each for each in waiting if each[0] <= position]:
            waiting.remove((due, emission))
            yield emission
    for _, emission in waiting:
        yield emission


def _corrupted(sample: Sample, payload: bytes, source: random.Random) -> bytes:
    """A payload that no mapping takes: cut off, no JSON, or of an unknown kind. Each is another one."""
    unknown = b'{"kind": "unknown-device", "of": "%b", "number": %d}'
    return source.choice(
        (payload[:-3], b"\xff" + payload, unknown % (sample.device.name.encode(), sample.number))
    )
