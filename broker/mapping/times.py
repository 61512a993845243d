"""When a reading was taken: the formats in which devices write it, and what they say about their clocks.

Times without an offset need a zone in the mapping: none is assumed. Nothing is corrected here.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from broker.mapping.fields import Field, Source, Unmapped
from broker.mapping.functions import Scope
from broker.mapping.numbers import Absent, NotANumber, read_number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_EPOCHS = {"epoch-s": "s", "epoch-ms": "ms", "epoch-us": "us"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class EffectiveTime(NamedTuple):
    """The time of a reading as its device said it. `text` is what the payload has."""

    start: datetime
    end: datetime | None
    text: str
    clock_offset_s: float


@dataclass(frozen=True, slots=True)
class TimeRule:
    """How the times of a payload are read. `value` None: the time of receipt."""

    name: str
    value: Field | None = None
    format: str = "iso"
    zone: Source | None = None
    end: Field | None = None
    duration: tuple[Field, str] | None = None
    clock_offset: tuple[Field, str] | None = None
    missing_is_received: bool = False
    """Whether a payload without a time is one of the time of its receipt; else it is a problem."""

    def read(self, scope: Scope, received: datetime) -> EffectiveTime:
        """Raises `Unmapped`."""
        if self.value is None:
            return EffectiveTime(received, None, "", 0.0)
        written = self.value.read(scope)
        if written is None or written == "":
            if self.missing_is_received:
                return EffectiveTime(received, None, "", 0.0)
            raise self.value.failure("required", "missing-field", "the reading has no time.")
        zone = self._zone(scope)
        start = self._moment(self.value, written, zone)
        end = self._end(scope, start, zone)
        if end is not None and end < start:
            raise (self.end or self.value).failure(
                "invalid", "malformed", "the period ends before it starts."
            )
        offset = None if self.clock_offset is None else _length(*self.clock_offset, scope)
        return EffectiveTime(start, end, str(written), offset.total_seconds() if offset else 0.0)

    def _end(self, scope: Scope, start: datetime, zone: tzinfo | None) -> datetime | None:
        if self.end is not None:
            written = self.end.read(scope)
            return None if written is None else self._moment(self.end, written, zone)
        length = None if self.duration is None else _length(*self.duration, scope)
        if self.duration is None or length is None:
            return None
        try:
            return start + length
        except OverflowError:
            raise self.duration[0].failure("invalid", "malformed", "the period is too long.") from None

    def _zone(self, scope: Scope) -> tzinfo | None:
        if self.zone is None:
            return None
        name = self.zone.read(scope)
        if name is None:
            return None
        try:
            return zone_of(name)
        except ValueError:
            field = self.zone.field.name if self.zone.field else self.name
            path = self.zone.field.expression.path if self.zone.field else ""
            raise Unmapped("invalid", "malformed", field, "the time zone is unknown.", path=path) from None

    def _moment(self, field: Field, written: Any, zone: tzinfo | None) -> datetime:
        try:
            moment = _parse(written, self.format)
            if moment.tzinfo is None:
                if zone is None:
                    raise field.failure(
                        "invalid",
                        "malformed",
                        "the time has no offset. Send it with one, or give the mapping a zone.",
                    )
                moment = moment.replace(tzinfo=zone)
            moment.astimezone(UTC)  # years 1 and 9999 have times that no UTC has
        except (ValueError, OverflowError, TypeError):
            raise field.failure(
                "invalid", "malformed", f"the time does not have the format {self.format}."
            ) from None
        return moment


def zone_of(name: str) -> tzinfo:
    """The zone of a name such as `Europe/Berlin`, or of an offset such as `+02:00`. Raises `ValueError`."""
    if name in {"Z", "UTC"}:
        return UTC
    if found := _OFFSET.fullmatch(name):
        length = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(length if found[1] == "+" else -length)
    if not _ZONE.fullmatch(name):
        raise ValueError("no time zone")
    try:
        return ZoneInfo(name)
    except (KeyError, OSError):
        raise ValueError("no time zone") from None


def _parse(written: Any, form: str) -> datetime:
    if unit := _EPOCHS.get(form):
        return _EPOCH + _duration(written, unit)
    if not isinstance(written, str):
        raise TypeError("not text")
    text = written.strip()
    match form:
        case "iso":
            if len(text) < 12:  # a day alone is no time
                raise ValueError("too short")
            return datetime.fromisoformat(text)
        case "date":
            if not _DATE.fullmatch(text):
                raise ValueError("no date")
            return datetime.fromisoformat(text)
        case _:
            return datetime.strptime(text, form)  # noqa: DTZ007 the zone is added by the caller


def _duration(written: Any, unit: str) -> timedelta:
    number = read_number(written)
    if isinstance(number, Absent) or number.comparator:
        raise ValueError("no number")
    return timedelta(microseconds=int(number.value * Decimal(_MICROSECONDS[unit])))


def _length(field: Field, unit: str, scope: Scope) -> timedelta | None:
    written = field.read(scope)
    if written is None:
        return None
    try:
        return _duration(written, unit)
    except (NotANumber, ValueError, OverflowError):
        raise field.failure("invalid", "malformed", "the value must be a number.") from None
