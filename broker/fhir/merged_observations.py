"""One Observation for all readings of a window: a time, an hour, a day, or those with one correlation id.

`MergedObservation` takes what is stored, adds readings and withdraws them. Samples get their places by their
times (`merged_samples.py`); components are merged by their codes; of other values the one that was measured
last counts (`merged_values.py`). Which that is does not depend on the order in which readings come, and a
repeated one changes nothing. What is withdrawn stays so (`withdrawn_times.py`), until a correction comes.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from broker.fhir.date_times import date_time, earliest
from broker.fhir.merged_samples import EPOCH, Micros, microseconds
from broker.fhir.merged_values import (
    MergedValue,
    MergeReading,
    is_absent,
    times_of,
    value_of,
    without,
)
from broker.fhir.unmergeable import Unmergeable
from broker.fhir.withdrawn_times import VALUE, PartKey, WithdrawnTimes, part_key
from broker.model import json_text
from broker.model.resource import Resource

_OF_VALUE = ("interpretation", "note", "bodySite", "method")
"""What an Observation says about its one value."""
_IN_ERROR = "entered-in-error"
_WITHDRAWN_BY_HAND = "The stored Observation was withdrawn. Correct or delete it."


class _Part(NamedTuple):
    """What a reading says of the value of the Observation or of a component, and when it was measured."""

    key: PartKey
    sent: Mapping[str, Any]
    times: Collection[Micros]


class MergedObservation:
    """`stored` None: there is none yet. Raises `Unmergeable` for one that is not of merged readings."""

    def __init__(self, stored: Resource | None) -> None:
        self._fields: dict[str, Any] = {}
        self._components: list[MergedValue] = []
        self._value: MergedValue | None = None
        self._start: Micros = 0
        self._end: Micros = 0
        self._is_stored = stored is not None
        self._was_corrected = False
        self._withdrawn = WithdrawnTimes()
        self._in_error: dict[str, Any] | None = None
        """The Observation as it was before its last reading was withdrawn; None if there are readings."""
        if stored is None:
            return
        fields = stored.copy()
        self._withdrawn = WithdrawnTimes.taken_from(fields)
        period = fields.get("effectivePeriod") or {}
        start, end = earliest(period.get("start")), earliest(period.get("end"))
        if start is None or end is None:
            raise Unmergeable("conflict", "The stored Observation was changed: it has no period.")
        status = fields.get("status")
        if status == "cancelled" or (status == _IN_ERROR and not self._withdrawn):
            raise Unmergeable("conflict", _WITHDRAWN_BY_HAND)
        self._start, self._end = microseconds(start), microseconds(end)
        self._was_corrected = status in {"corrected", _IN_ERROR}
        self._load(fields)
        if status == _IN_ERROR:
            self._check_that_all_is_withdrawn()
            self._in_error = stored.copy()
            WithdrawnTimes.taken_from(self._in_error)
            self._empty()

    def add(self, reading: MergeReading) -> bool:
        """Whether that changed anything. Raises `Unmergeable`, and nothing is changed."""
        sent = reading.resource.copy() if reading.correction else self._not_withdrawn(reading)
        if sent is None:
            return False
        corrected = _parts(sent, reading) if reading.correction else []
        parts = sent.pop("component", ())
        pairs = [(self._component(part_key(part)), part) for part in parts]
        if self._value is not None:
            self._value.check(sent, reading)
        for component, part in pairs:
            if component is not None:
                component.check(part, reading)
        start, end = self._bounds(reading)
        for each in [*self._all(), *(MergedValue(dict(part), start) for part in (sent, *parts))]:
            each.check_length(start, end)
        self._extend(start, end)
        is_changed = self._add_value(sent, reading)
        for component, part in pairs:
            if component is not None:
                is_changed |= component.add(part, reading)
                continue
            added = MergedValue(part, self._start)
            added.begin(part, reading)
            self._components.append(added)
            is_changed = True
        for key, _, times in corrected:
            is_changed |= self._withdrawn.forget(key, times)
        if is_changed and self._is_stored:
            self._take_over(sent, reading)
        self._in_error = None
        return is_changed

    def withdraw(self, reading: MergeReading) -> bool:
        """Takes out what the reading says, whatever its values are. Whether that changed anything. Raises
        `Unmergeable`, and nothing is changed.
        """
        sent = reading.resource.copy()
        parts = _parts(sent, reading)
        for part in parts:
            if (stored := self._part(part.key)) is not None:
                stored.check(part.sent, reading)
        withdrawn = [part for part in parts if not self._withdrawn.of(part.key) >= {*part.times}]
        if not withdrawn:
            return False
        self._withdrawn.check_number(len(part.times) for part in withdrawn)
        before = self._in_error or (self._elements() if self._fields else _alone(reading))
        is_removed = False
        for part in withdrawn:
            self._withdrawn.add(part.key, part.sent["code"] if part.key else {}, part.times)
            is_removed |= self._remove(part)
        self._tidy(reading.required)
        if not self._has_readings(reading.required):
            self._in_error = {**before, "issued": sent["issued"]}
            self._empty()
            return True
        if is_removed:
            self._shrink(reading, [time for part in withdrawn for time in part.times])
        if self._is_stored:
            self._was_corrected |= is_removed
            self._fields |= {"status": self._status, "issued": sent["issued"]}
        return True

    def resource(self, resource_id: str) -> Resource:
        """The Observation."""
        made = self._elements() if self._in_error is None else {**self._in_error, "status": _IN_ERROR}
        made["id"] = resource_id
        if extensions := [*made.pop("extension", ()), *self._withdrawn.extensions()]:
            made = {"extension": extensions} | made
        return Resource(json_text.encode(made))

    def _elements(self) -> dict[str, Any]:
        sampled = [each.samples for each in self._all() if each.samples is not None]
        end = max([self._end, *(samples.last() for samples in sampled)])
        made = dict(self._fields)
        made.pop("effectiveDateTime", None)
        made["effectivePeriod"] = {"start": _date_time(self._start), "end": _date_time(end)}
        if self._value is not None:
            made = self._value.element(made, end)
        if self._components:
            made["component"] = [each.element(each.fields, end) for each in self._components]
        return made

    def _load(self, fields: dict[str, Any]) -> None:
        self._components = [MergedValue(each, self._start) for each in fields.pop("component", ())]
        self._fields = fields
        self._value = MergedValue(fields, self._start)

    def _empty(self) -> None:
        """Nothing is left: the next reading is as the first one."""
        self._fields, self._components, self._value = {}, [], None

    def _check_that_all_is_withdrawn(self) -> None:
        """Raises `Unmergeable` for an Observation that was withdrawn as a whole, by whom it may be."""
        for each in self._all():
            key = VALUE if each is self._value else part_key(each.fields)
            if each.is_measured and not self._withdrawn.of(key) >= {*each.moments()}:
                raise Unmergeable("conflict", _WITHDRAWN_BY_HAND)

    def _not_withdrawn(self, reading: MergeReading) -> dict[str, Any] | None:
        """The reading without what was withdrawn of it; None if nothing is left."""
        sent = reading.resource.copy()
        if not self._withdrawn:
            return sent
        parts = _parts(sent, reading)
        kept = {part.key: without(part.sent, reading, self._withdrawn.of(part.key)) for part in parts}
        if all(kept[part.key] is part.sent for part in parts):
            return sent
        if not any(kept.values()):
            return None
        if VALUE in kept and kept[VALUE] is None:
            for name in (*value_of(sent), *_OF_VALUE):
                sent.pop(name, None)
        elif VALUE in kept:
            sent = dict(kept[VALUE] or {})
        empty = {part_key(each): each for each in reading.required}
        components = []
        for each in sent.pop("component", ()):
            key = part_key(each)
            left = kept.get(key, each) or empty.get(key)
            components += [] if left is None else [dict(left)]
        return sent | ({"component": components} if components else {})

    def _all(self) -> list[MergedValue]:
        return [*self._components, *([self._value] if self._value else [])]

    def _component(self, key: PartKey) -> MergedValue | None:
        return next((each for each in self._components if part_key(each.fields) == key), None)

    def _part(self, key: PartKey) -> MergedValue | None:
        return self._component(key) if key else self._value

    def _has_readings(self, required: Collection[Mapping[str, object]]) -> bool:
        return any(each.is_there and not _is_empty(each.fields, required) for each in self._all())

    def _remove(self, part: _Part) -> bool:
        """Whether something of it was stored. With the value goes what is said about it."""
        stored = self._part(part.key)
        if stored is None or not stored.remove(part.times, removes_reason=is_absent(part.sent)):
            return False
        if stored is self._value and not stored.is_there:
            for name in _OF_VALUE:
                self._fields.pop(name, None)
        return True

    def _tidy(self, required: Collection[Mapping[str, object]]) -> None:
        """A component without a value goes, or has the reason why there is none if it must be there."""
        empty = {part_key(each): dict(each) for each in required}
        for n, each in enumerate(self._components):
            if not each.is_there and (filled := empty.get(part_key(each.fields))) is not None:
                self._components[n] = MergedValue(filled, self._start)
        self._components = [each for each in self._components if each.is_there]

    def _shrink(self, reading: MergeReading, times: Collection[Micros]) -> None:
        """The period is that of the other readings, if the withdrawn one was at its beginning or end. The end
        that a reading names stays: those of the others are not known.
        """
        if reading.window.bounds is not None:
            self._end = microseconds(reading.window.bounds[1])
            return
        moments = [moment for each in self._all() for moment in each.moments()]
        if not moments:
            return
        start = min(moments) if min(times) <= self._start else self._start
        has_end = reading.end is not None and reading.end > reading.start
        end = max(moments) if max(times) >= self._end and not has_end else self._end
        self._extend(start, max(start, end))

    def _bounds(self, reading: MergeReading) -> tuple[Micros, Micros]:
        """The first and last moment, with the reading."""
        start, end = reading.window.bounds or (
            reading.start,
            max(reading.end or reading.start, reading.start),
        )
        first, last = microseconds(start), microseconds(end)
        return (min(first, self._start), max(last, self._end)) if self._fields else (first, last)

    def _extend(self, start: Micros, end: Micros) -> None:
        if self._fields and start != self._start:
            for value in self._all():
                value.move(start)
        self._start, self._end = start, end

    def _add_value(self, sent: dict[str, Any], reading: MergeReading) -> bool:
        if self._value is None:
            self._fields = sent
            self._value = MergedValue(sent, self._start)
            self._value.begin(sent, reading)
            return True
        if not self._value.add(sent, reading):
            return False
        if self._value.samples is None:
            for name in _OF_VALUE:
                self._fields.pop(name, None)
                if name in sent:
                    self._fields[name] = sent[name]
        return True

    @property
    def _status(self) -> str:
        return "corrected" if self._was_corrected else "amended"

    def _take_over(self, sent: Mapping[str, Any], reading: MergeReading) -> None:
        """What every change of the stored Observation brings."""
        self._was_corrected |= reading.correction == "corrected"
        self._fields["status"] = self._status
        self._fields["issued"] = sent["issued"]
        self._fields.pop("category", None)
        if "category" in sent:
            self._fields["category"] = sent["category"]
        if tags := (sent.get("meta") or {}).get("tag"):
            meta = self._fields.setdefault("meta", {})
            meta["tag"] = [
                *(meta.get("tag") or ()),
                *(tag for tag in tags if tag not in (meta.get("tag") or ())),
            ]


def _parts(sent: Mapping[str, Any], reading: MergeReading) -> list[_Part]:
    """What the reading has: not the components that are there only because they must be."""
    listed = [(VALUE, sent), *((part_key(each), each) for each in sent.get("component", ()))]
    return [
        _Part(key, part, times_of(part, reading))
        for key, part in listed
        if value_of(part) and not _is_empty(part, reading.required)
    ]


def _is_empty(part: Mapping[str, Any], required: Collection[Mapping[str, object]]) -> bool:
    """Whether it is a component without a value that is there only because it must be."""
    return any(value_of(part) == value_of(each) and part_key(part) == part_key(each) for each in required)


def _alone(reading: MergeReading) -> dict[str, Any]:
    """The Observation of the reading if there is no other."""
    made = MergedObservation(None)
    made.add(reading)
    fields = made.resource("").copy()
    del fields["id"]
    return fields


def _date_time(moment: Micros) -> str:
    return date_time(EPOCH + timedelta(microseconds=int(moment)))
