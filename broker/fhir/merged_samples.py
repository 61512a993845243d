"""The samples of an Observation that several readings fill: each has its place by its time.

A place is one period long. Of several samples with times in one place the latest counts, whatever order they
come in, so the time of each is kept beside the data, unless it is where its place begins.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.fhir.unmergeable import Unmergeable

MAX_SAMPLES = 100_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NONE = "E"
Micros = int | Decimal
"""Microseconds: whole ones, unless the period of the samples is no whole number of them."""
_OTHER_FORM = "The stored samples have another period, origin, factor or unit. Let the mapping have theirs."


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // _MICROSECOND


class MergedSamples:
    """`form` is the SampledData without its data. `start`: where the first place begins, in microseconds."""

    def __init__(self, form: Mapping[str, Any], start: Micros) -> None:
        self.form = dict(form)
        self._start = start
        self._period = _period(form)
        self._samples: dict[int, tuple[Micros, str]] = {}
        """Time and token, by place."""

    @classmethod
    def stored(cls, element: Mapping[str, Any], start: Micros, offsets: str) -> "MergedSamples":
        """Of a stored SampledData. `offsets` as `offsets()` gave it. Raises `Unmergeable`."""
        samples = cls(_form(element), start)
        try:
            later = dict(pair.split(":") for pair in offsets.split())
            for place, token in enumerate(str(element.get("data", "")).split()):
                if token != _NONE:
                    samples._samples[place] = (start + place * samples._period, token)
            for number, offset in later.items():
                moment, token = samples._samples[int(number)]
                samples._samples[int(number)] = (moment + _of_milliseconds(offset), token)
        except (ValueError, LookupError, InvalidOperation):
            raise Unmergeable("conflict", "The times of the stored samples were changed.") from None
        return samples

    def check_length(self, start: Micros, end: Micros) -> None:
        """Raises `Unmergeable` if the time between has too many places."""
        if (end - start) // self._period >= MAX_SAMPLES:
            text = f"An Observation has at most {MAX_SAMPLES} samples. Merge the readings of a shorter time."
            raise Unmergeable("too-long", text)

    def move(self, start: Micros) -> None:
        """The first place begins elsewhere now."""
        if start == self._start:
            return
        moved, self._samples, self._start = self._samples, {}, start
        for moment, token in moved.values():
            place = self._place(moment)
            if place not in self._samples or self._samples[place][0] < moment:
                self._samples[place] = (moment, token)

    def check(self, element: Mapping[str, Any], moment: Micros, *, is_correction: bool) -> None:
        """Raises `Unmergeable` if the samples cannot be added, the first of which is of the moment."""
        if _form(element) != self.form:
            raise Unmergeable("conflict", _OTHER_FORM)
        if is_correction:
            return
        for number, token in enumerate(_tokens(element)):
            time = moment + number * self._period
            known = self._samples.get(self._place(time))
            if token != _NONE and known is not None and known[0] == time and not _is_equal(known[1], token):
                raise Unmergeable("conflict", "Another sample is stored for this time. Send a correction.")

    def add(self, element: Mapping[str, Any], moment: Micros) -> bool:
        """Whether that changed anything. `check` has passed."""
        is_changed = False
        for number, token in enumerate(_tokens(element)):
            time = moment + number * self._period
            place = self._place(time)
            known = self._samples.get(place)
            is_newer = (
                known is None or known[0] < time or (known[0] == time and not _is_equal(known[1], token))
            )
            if token != _NONE and is_newer:
                self._samples[place] = (time, token)
                is_changed = True
        return is_changed

    def remove(self, times: Collection[Micros]) -> bool:
        """Removes the samples of exactly these times. Whether there was one."""
        places = [place for place, (moment, _) in self._samples.items() if moment in times]
        for place in places:
            del self._samples[place]
        return bool(places)

    def moments(self) -> list[Micros]:
        """The times of the samples."""
        return [moment for moment, _ in self._samples.values()]

    def last(self) -> Micros:
        """The time of the last sample."""
        return max(self.moments(), default=self._start)

    def element(self, end: Micros) -> dict[str, Any]:
        """The SampledData, which reaches to the end."""
        tokens = [_NONE] * (max(self._place(end), *self._samples, 0) + 1)
        for place, (_, token) in self._samples.items():
            tokens[place] = token
        return {**self.form, "data": " ".join(tokens)}

    def offsets(self) -> str:
        """How many milliseconds after the beginning of its place each sample is, where that is not 0: places
        and milliseconds, such as `0:350 7:12.5`.
        """
        pairs = []
        for place, (moment, _) in sorted(self._samples.items()):
            if offset := moment - self._start - place * self._period:
                pairs.append(f"{place}:{_milliseconds(offset)}")
        return " ".join(pairs)

    def _place(self, moment: Micros) -> int:
        return int((moment - self._start) // self._period)


def sample_times(element: Mapping[str, Any], moment: datetime) -> list[Micros]:
    """When the samples were measured, the first of which is of the moment; not of places without one."""
    first, period = microseconds(moment), _period(_form(element))
    return [first + n * period for n, token in enumerate(_tokens(element)) if token != _NONE]


def without_samples(
    element: Mapping[str, Any], moment: datetime, times: Collection[Micros]
) -> dict[str, Any] | None:
    """The SampledData without the samples of these times; None if no sample is left."""
    first, period = microseconds(moment), _period(_form(element))
    tokens = [_NONE if first + n * period in times else token for n, token in enumerate(_tokens(element))]
    return None if {*tokens} == {_NONE} else {**element, "data": " ".join(tokens)}


def _form(element: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in element.items() if name != "data"}


def _tokens(element: Mapping[str, Any]) -> list[str]:
    return str(element["data"]).split()


def _period(form: Mapping[str, Any]) -> Micros:
    """In microseconds."""
    period = form.get("period")
    if not isinstance(period, int | Decimal) or period <= 0 or form.get("dimensions") != 1:
        raise Unmergeable("conflict", _OTHER_FORM)
    return whole(Decimal(period) * 1000)


def _milliseconds(offset: Micros) -> str:
    if isinstance(offset, int) and offset % 1000 == 0:
        return str(offset // 1000)
    return format((Decimal(offset) / 1000).normalize(), "f")


def _of_milliseconds(text: str) -> Micros:
    return int(text) * 1000 if text.isdecimal() else whole(Decimal(text) * 1000)


def whole(number: Decimal) -> Micros:
    """An `int` if it is one."""
    return int(number) if number == int(number) else number


def _is_equal(token: str, other: str) -> bool:
    if token == other:
        return True
    try:
        return Decimal(token) == Decimal(other)
    except InvalidOperation:
        return False
