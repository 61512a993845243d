"""Sampled data: waveforms such as an ECG lead (V-14)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from broker.mapping.codes import UCUM
from broker.mapping.fields import Field, Source, Unmapped
from broker.mapping.functions import Scope
from broker.mapping.numbers import SPECIAL_VALUES, Absent, NotANumber, read_number
from broker.mapping.reading_types import Unit
from broker.mapping.units import IDENTITY, Conversion, candidates, conversion_of

MAX_SAMPLES = 100_000
_TOKEN = re.compile(r"[EUL]|-?(?:0|[1-9]\d{0,20})(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
WINDOWS_MS: Mapping[str, int] = {"hour": 3_600_000, "day": 86_400_000}
_LETTERS = {"positive-infinity": "U", "negative-infinity": "L"}


@dataclass(frozen=True, slots=True)
class SampledDataRule:
    """`value` gives the samples. `period` (ms), `origin` and `factor` are numbers or fields."""

    value: Field
    period: Decimal | Field
    origin: Decimal | Field
    factor: Decimal | Field
    lower: Decimal | None
    upper: Decimal | None
    dimensions: int
    unit: Source | None
    unit_name: str
    target: Unit | None
    aliases: Mapping[str, str]
    fixed: Mapping[str, object]
    """The elements of an origin that is not converted; then `unit` and `target` are None."""

    def element(self, scope: Scope, written: Any) -> dict[str, object]:
        """`valueSampledData`. Raises `Unmapped`. `written` are the samples, not None."""
        data = self._samples(written)
        conversion = self._conversion(scope)
        origin = _number(self.origin, scope)
        factor = _number(self.factor, scope) * conversion.factor
        quantity: dict[str, object] = {"value": conversion.apply(origin) if origin else 0, **self.fixed}
        if self.target is not None:
            quantity |= {"unit": self.target.text, "system": UCUM, "code": self.target.code}
        sampled: dict[str, object] = {"origin": quantity, "period": self._period(scope)}
        if factor != 1:
            sampled["factor"] = factor.normalize()
        if self.lower is not None:
            sampled["lowerLimit"] = self.lower
        if self.upper is not None:
            sampled["upperLimit"] = self.upper
        return {"valueSampledData": sampled | {"dimensions": self.dimensions, "data": data}}

    def _conversion(self, scope: Scope) -> Conversion:
        if self.unit is None or self.target is None:
            return IDENTITY
        written = self.unit.read(scope)
        conversion = None if written is None else conversion_of(written, self.target.code, self.aliases, None)
        if conversion is None or conversion.offset:
            text = f"the unit is missing, unknown, or does not convert to {self.target.code} by a factor."
            units = candidates(self.target.code, self.aliases, None)
            raise Unmapped("code-invalid", "unknown-unit", self.unit_name, text, candidates=units)
        return conversion

    def _period(self, scope: Scope) -> Decimal:
        period = _number(self.period, scope)
        if period <= 0:
            raise (self.period if isinstance(self.period, Field) else self.value).failure(
                "value", "impossible-value", "the period must be greater than 0."
            )
        return period

    def _samples(self, value: Any) -> str:
        samples = value.split() if isinstance(value, str) else value if isinstance(value, list) else [value]
        if not 0 < len(samples) <= MAX_SAMPLES:
            raise self.value.failure(
                "invalid", "malformed", f"the samples must be a list of 1 to {MAX_SAMPLES} numbers."
            )
        try:
            text = [_sample(sample) for sample in samples]
        except NotANumber:
            raise self.value.failure("invalid", "malformed", "a sample is no number.") from None
        return " ".join(text)


def can_merge(window: str, period: float | Decimal) -> bool:
    """Whether an hour or a day has few enough periods (ms) for the samples of one Observation."""
    return WINDOWS_MS.get(window, 0) <= MAX_SAMPLES * period


def _sample(value: Any) -> str:
    if value is None:
        return "E"
    if isinstance(value, str) and _TOKEN.fullmatch(value):
        return value
    number = read_number(value, SPECIAL_VALUES)
    if isinstance(number, Absent):
        return _LETTERS.get(number.reason, "E")
    if number.comparator:
        raise NotANumber("has a comparator")
    return format(number.value, "f")


def _number(source: Decimal | Field, scope: Scope) -> Decimal:
    if isinstance(source, Decimal):
        return source
    try:
        number = read_number(source.read(scope))
    except NotANumber as error:
        raise source.failure("invalid", "malformed", f"the value {error}.") from None
    if isinstance(number, Absent) or number.comparator:
        raise source.failure("invalid", "malformed", "the value must be a number.")
    return number.value
