"""Which readings of a merged Observation were withdrawn: the times of its value and of each component.

The times are kept in the Observation, so that a withdrawal holds whether the reading came before it, comes
after it, or comes again. Runs of samples are written as their first time, period and number.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.fhir.date_times import date_time, earliest
from broker.fhir.merged_samples import EPOCH, MAX_SAMPLES, Micros, microseconds, whole
from broker.fhir.unmergeable import Unmergeable

WITHDRAWN = "http://fhir-broker.org/fhir/StructureDefinition/withdrawn"
"""Extension of an Observation with `times`, and the `code` of a component if it is about one."""
PartKey = tuple[tuple[Any, Any], ...]
"""What distinguishes a part: the codings of a component, () for the value of the Observation."""
VALUE: PartKey = ()
_SECOND = 1_000_000
_MIN_RUN = 3


class WithdrawnTimes:
    """Of one Observation."""

    def __init__(self) -> None:
        self._times: dict[PartKey, set[Micros]] = {}
        self._codes: dict[PartKey, Mapping[str, Any]] = {}

    @classmethod
    def taken_from(cls, fields: dict[str, Any]) -> "WithdrawnTimes":
        """Those of a stored Observation; their extensions leave its fields. Raises `Unmergeable`."""
        made = cls()
        kept = []
        for extension in fields.pop("extension", ()):
            if extension.get("url") != WITHDRAWN:
                kept.append(extension)
                continue
            parts = {each.get("url"): each for each in extension.get("extension", ())}
            code = parts.get("code", {}).get("valueCodeableConcept", {})
            try:
                made.add(
                    part_key({"code": code}) if code else VALUE, code, _read(parts["times"]["valueString"])
                )
            except (LookupError, ValueError, InvalidOperation, OverflowError):
                raise Unmergeable("conflict", "The times of the withdrawn readings were changed.") from None
        if kept:
            fields["extension"] = kept
        return made

    def __bool__(self) -> bool:
        return any(self._times.values())

    def of(self, part: PartKey) -> AbstractSet[Micros]:
        return self._times.get(part, frozenset())

    def check_number(self, added: Iterable[int]) -> None:
        """Raises `Unmergeable` if the times would be too many."""
        if sum(map(len, self._times.values())) + sum(added) > MAX_SAMPLES:
            text = f"An Observation has at most {MAX_SAMPLES} withdrawn samples. Delete or correct it."
            raise Unmergeable("too-long", text)

    def add(self, part: PartKey, code: Mapping[str, Any], times: Collection[Micros]) -> None:
        """`code` is that of the component, empty for the value of the Observation."""
        self._times.setdefault(part, set()).update(times)
        self._codes[part] = code

    def forget(self, part: PartKey, times: Collection[Micros]) -> bool:
        """They are withdrawn no more, as a correction came. Whether one of them was."""
        known = self._times.get(part, set())
        is_withdrawn = not known.isdisjoint(times)
        known.difference_update(times)
        return is_withdrawn

    def extensions(self) -> list[dict[str, Any]]:
        """As the Observation has them."""
        made = []
        for part, times in sorted(self._times.items(), key=lambda row: str(row[0])):
            if times:
                code = [{"url": "code", "valueCodeableConcept": self._codes[part]}] if part else []
                made.append(
                    {"url": WITHDRAWN, "extension": [*code, {"url": "times", "valueString": _written(times)}]}
                )
        return made


def part_key(part: Mapping[str, Any]) -> PartKey:
    """That of a component."""
    code = part.get("code") or {}
    codings = tuple((each.get("system"), each.get("code")) for each in code.get("coding") or ())
    return codings or (("", code.get("text")),)


def _written(times: Collection[Micros]) -> str:
    """The times, each `2026-03-02T08:00:00Z`, and with period and number `2026-03-02T08:00:00Z+250*40`."""
    in_order = sorted(times)
    tokens = []
    n = 0
    while n < len(in_order):
        count = _run(in_order, n)
        if count >= _MIN_RUN:
            period = Decimal(in_order[n + 1] - in_order[n]) / 1000
            tokens.append(f"{_moment(in_order[n])}+{period.normalize():f}*{count}")
            n += count
        else:
            tokens.append(_moment(in_order[n]))
            n += 1
    return " ".join(tokens)


def _run(times: list[Micros], first: int) -> int:
    """How many times from there on are equally far apart."""
    last = first + 1
    while last + 1 < len(times) and times[last + 1] - times[last] == times[first + 1] - times[first]:
        last += 1
    return min(last, len(times) - 1) - first + 1


def _read(text: str) -> set[Micros]:
    """The opposite of `_written`."""
    times: set[Micros] = set()
    for token in text.split():
        moment, _, run = token.partition("Z")
        period, _, count = run.removeprefix("+").partition("*")
        second, _, fraction = moment.partition(".")
        start = earliest(f"{second}Z")
        if start is None:
            raise ValueError("no time")
        first = whole(microseconds(start) + Decimal(f"0.{fraction or 0}") * _SECOND)
        length = whole(Decimal(period) * 1000) if run else 0
        if (number := int(count) if run else 1) > MAX_SAMPLES:
            raise ValueError("too many")
        times.update(whole(Decimal(first + place * length)) for place in range(number))
    return times


def _moment(time: Micros) -> str:
    """With all digits: the period of samples may be no whole number of microseconds."""
    seconds = math.floor(Decimal(time) / _SECOND)
    rest = Decimal(time) - seconds * _SECOND
    text = date_time(EPOCH + timedelta(seconds=seconds)).removesuffix("Z")
    fraction = f"{rest / _SECOND:f}".rstrip("0").removeprefix("0").removesuffix(".") if rest else ""
    return f"{text}{fraction}Z"
