"""The values of a simulated person at a time of day. Pure: everything random comes from the person's seed.

A value is its daily course (slow at night, fast in the afternoon), what meals and walks add, and the noise of
the sensor. The constants are round numbers of adults at rest, plausible and of no clinical use.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

_MEAL_HOURS = (7.5, 12.5, 19.0)
_MEAL_RISE_H = 0.75
"""A meal raises the glucose for so long; it then falls back over about twice the time."""
_DAY_H = 24.0


@dataclass(frozen=True)
class Person:
    """Someone with own levels. `name` and `seed` make them."""

    name: str
    seed: int

    def noise(self, *place: object) -> float:
        """A number between -1 and 1, the same for the same place."""
        digest = hashlib.blake2b(repr((self.seed, self.name, *place)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**63 - 1

    @cached_property
    def resting_rate(self) -> float:
        return 64 + 8 * self.noise("resting rate")

    @cached_property
    def systolic(self) -> float:
        return 122 + 14 * self.noise("systolic")

    @cached_property
    def fasting_glucose(self) -> float:
        """In mg/dL."""
        return 95 + 12 * self.noise("glucose")

    @cached_property
    def weight(self) -> float:
        return 76 + 18 * self.noise("weight")

    def activity(self, at: datetime) -> float:
        """From 0, asleep, to about 1, walking: by quarters of an hour, at daytime only."""
        hour = _hour(at)
        if not 7 <= hour < 22:
            return 0.0
        quarter = int(hour * 4)
        return max(0.0, self.noise("activity", at.date(), quarter)) ** 2

    def heart_rate(self, at: datetime) -> float:
        """In beats per minute: lowest at four in the morning, higher by up to 45 on a walk."""
        circadian = 7 * math.cos(2 * math.pi * (_hour(at) - 16) / _DAY_H)
        return self.resting_rate + circadian + 45 * self.activity(at) + 2 * self.noise("heart", at)

    def respiratory_rate(self, at: datetime) -> float:
        return 14 + 6 * self.activity(at) + math.sin(_hour(at)) + 0.7 * self.noise("breath", at)

    def saturation(self, at: datetime) -> float:
        """In percent: a little lower at night."""
        return min(100.0, 97.4 - (0.8 if _hour(at) < 6 else 0) + 0.8 * self.noise("saturation", at))

    def temperature(self, at: datetime) -> float:
        """In °C: lowest in the early morning."""
        circadian = 0.4 * math.cos(2 * math.pi * (_hour(at) - 18) / _DAY_H)
        return 36.7 + circadian + 0.1 * self.noise("temperature", at)

    def blood_pressure(self, at: datetime) -> tuple[float, float]:
        """Systolic and diastolic in mmHg: lower by a tenth at night."""
        night = 0.9 if _hour(at) < 6 else 1.0
        systolic = night * (self.systolic + 18 * self.activity(at)) + 4 * self.noise("pressure", at)
        return systolic, 0.62 * systolic + 3 * self.noise("diastolic", at)

    def glucose(self, at: datetime) -> float:
        """In mg/dL: a steep rise after each meal and a slow fall."""
        hour = _hour(at)
        risen = 0.0
        for number, meal in enumerate(_MEAL_HOURS):
            since = hour - meal - 0.25 * self.noise("meal", at.date(), number)
            if since > 0:
                size = 55 + 20 * self.noise("portion", at.date(), number)
                risen += size * (since / _MEAL_RISE_H) * math.exp(1 - since / _MEAL_RISE_H)
        return self.fasting_glucose + risen + 3 * self.noise("sensor", at)


def _hour(at: datetime) -> float:
    return at.hour + at.minute / 60 + at.second / 3600
