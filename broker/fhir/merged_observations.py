"""One Observation for all readings of a window: an hour, a day, or those with one correlation id.

`MergedObservation` takes what is stored and adds readings. Samples get their places by their times
(`merged_samples.py`); components are merged by their codes; of other values the one that was measured last
counts. Which that is does not depend on the order in which readings come, and a repeated one changes nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from broker.fhir.date_times import date_time, earliest
from broker.fhir.merged_samples import MergedSamples, Micros, microseconds
from broker.fhir.unmergeable import Unmergeable
from broker.model import json_text
from broker.model.resource import Resource

MEASURED = "http://fhir-broker.org/fhir/StructureDefinition/measured"
"""Extension of an Observation or component: when its value was measured; `effectivePeriod` is the window."""
SAMPLE_OFFSETS = "http://fhir-broker.org/fhir/StructureDefinition/sample-offsets"
"""Extension with the times of samples within their periods (`MergedSamples.offsets`)."""
_OF_VALUE = ("interpretation", "note", "bodySite", "method")
"""What an Observation says about its one value."""
_WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Window(NamedTuple):
    """What readings are merged in. `key` tells it from others of the device, patient and type; `bounds` are
    the first and last moment, None if they are those of the readings.
    """

    key: str
    bounds: tuple[datetime, datetime] | None


class MergeReading(NamedTuple):
    """A reading as an Observation of its own, to be merged. `correction` is '' or a status."""

    resource: Resource
    start: datetime
    end: datetime | None
    window: Window
    correction: str


class MergedObservation:
    """`stored` None: there is none yet. Raises `Unmergeable` for one that is not of merged readings."""

    def __init__(self, stored: Resource | None) -> None:
        self._fields: dict[str, Any] = {}
        self._components: list[_Value] = []
        self._value: _Value | None = None
        self._start: Micros = 0
        self._end: Micros = 0
        self._is_stored = stored is not None
        self._was_corrected = False
        if stored is None:
            return
        fields = stored.copy()
        period = fields.get("effectivePeriod") or {}
        start, end = earliest(period.get("start")), earliest(period.get("end"))
        if start is None or end is None:
            raise Unmergeable("conflict", "The stored Observation was changed: it has no period.")
        if fields.get("status") in _WITHDRAWN:
            raise Unmergeable("conflict", "The stored Observation was withdrawn. Correct or delete it.")
        self._start, self._end = microseconds(start), microseconds(end)
        self._was_corrected = fields.get("status") == "corrected"
        self._components = [_Value(each, self._start) for each in fields.pop("component", ())]
        self._fields = fields
        self._value = _Value(fields, self._start)

    def add(self, reading: MergeReading) -> bool:
        """Whether that changed anything. Raises `Unmergeable`, and nothing is changed."""
        sent = reading.resource.copy()
        parts = sent.pop("component", ())
        pairs = [(self._component(part), part) for part in parts]
        if self._value is not None:
            self._value.check(sent, reading)
        for component, part in pairs:
            if component is not None:
                component.check(part, reading)
        start, end = self._bounds(reading)
        for each in [*self._all(), *(_Value(dict(part), start) for part in (sent, *parts))]:
            each.check_length(start, end)
        self._extend(start, end)
        is_changed = self._add_value(sent, reading)
        for component, part in pairs:
            if component is not None:
                is_changed |= component.add(part, reading)
                continue
            added = _Value(part, self._start)
            added.begin(part, reading)
            self._components.append(added)
            is_changed = True
        if is_changed and self._is_stored:
            self._take_over(sent, reading)
        return is_changed

    def resource(self, resource_id: str) -> Resource:
        """The Observation."""
        end = max([self._end, *(value.last() for value in self._all())])
        made = dict(self._fields)
        made.pop("effectiveDateTime", None)
        made["id"] = resource_id
        made["effectivePeriod"] = {"start": _date_time(self._start), "end": _date_time(end)}
        if self._value is not None:
            made = self._value.element(made, end)
        if self._components:
            made["component"] = [each.element(each.fields, end) for each in self._components]
        return Resource(json_text.encode(made))

    def _all(self) -> list["_Value"]:
        return [*self._components, *([self._value] if self._value else [])]

    def _component(self, part: Mapping[str, Any]) -> "_Value | None":
        code = _codings(part)
        return next((each for each in self._components if _codings(each.fields) == code), None)

    def _bounds(self, reading: MergeReading) -> tuple[Micros, Micros]:
        """The first and last moment, with the reading."""
        start, end = reading.window.bounds or (
            reading.start,
            max(reading.end or reading.start, reading.start),
        )
        first, last = microseconds(start), microseconds(end)
        return (min(first, self._start), max(last, self._end)) if self._fields else (first, last)

    def _extend(self, start: Micros, end: Micros) -> None:
        if self._fields and start < self._start:
            for value in self._all():
                value.move(start)
        self._start, self._end = start, end

    def _add_value(self, sent: dict[str, Any], reading: MergeReading) -> bool:
        if self._value is None:
            self._fields = sent
            self._value = _Value(sent, self._start)
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

    def _take_over(self, sent: Mapping[str, Any], reading: MergeReading) -> None:
        """What every change of the stored Observation brings."""
        is_corrected = self._was_corrected or reading.correction == "corrected"
        self._was_corrected = is_corrected
        self._fields["status"] = "corrected" if is_corrected else "amended"
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


class _Value:
    """The value of the Observation or of a component, which is in `fields`."""

    def __init__(self, fields: dict[str, Any], start: Micros) -> None:
        self.fields = fields
        self._start = start
        self._measured: datetime | None = None
        self.samples: MergedSamples | None = None
        offsets, kept = "", []
        for extension in fields.pop("extension", ()):
            if extension.get("url") == MEASURED:
                self._measured = earliest(extension.get("valueDateTime"))
            elif extension.get("url") == SAMPLE_OFFSETS:
                offsets = str(extension.get("valueString", ""))
            else:
                kept.append(extension)
        if kept:
            fields["extension"] = kept
        if (sampled := fields.get("valueSampledData")) is not None:
            self.samples = MergedSamples.stored(sampled, start, offsets)

    def begin(self, sent: Mapping[str, Any], reading: MergeReading) -> None:
        """The value is the first one, and of the reading."""
        if self.samples is not None:
            self.samples = MergedSamples(self.samples.form, self._start)
            self.samples.add(sent["valueSampledData"], microseconds(reading.start))
        elif (value := _value_of(self.fields)) and not _is_absent(value):
            self._measured = reading.start

    def check(self, sent: Mapping[str, Any], reading: MergeReading) -> None:
        """Raises `Unmergeable` if the value of the reading contradicts this one."""
        value, other = _value_of(self.fields), _value_of(sent)
        if not value or not other or _is_absent(value) is not _is_absent(other):
            return  # a value and the reason why there is none do not contradict each other
        if (self.samples is None) is ("valueSampledData" in sent):
            raise Unmergeable("conflict", "The stored value is of another kind. Correct the mapping.")
        if self.samples is not None:
            self.samples.check(
                sent["valueSampledData"], microseconds(reading.start), is_correction=bool(reading.correction)
            )
        elif self._measured == reading.start and not reading.correction and value != other:
            raise Unmergeable("conflict", "Another value is stored for this time. Send a correction.")

    def check_length(self, start: Micros, end: Micros) -> None:
        """Raises `Unmergeable` if the samples would be too many."""
        if self.samples is not None:
            self.samples.check_length(start, end)

    def add(self, sent: Mapping[str, Any], reading: MergeReading) -> bool:
        """Whether that changed anything. `check` has passed."""
        other = _value_of(sent)
        if not other or (self.samples is not None and _is_absent(other)):
            return False
        if self.samples is not None:
            return self.samples.add(sent["valueSampledData"], microseconds(reading.start))
        value = _value_of(self.fields)
        if value and _is_absent(other) and (value == other or not _is_absent(value)):
            return False
        if self._measured is not None and (
            reading.start < self._measured or (reading.start == self._measured and value == other)
        ):
            return False
        for name in value:
            del self.fields[name]
        self.fields.update(other)
        if "valueSampledData" in other:
            self.samples = MergedSamples.stored(other["valueSampledData"], self._start, "")
            self.begin(sent, reading)
        else:
            self._measured = None if _is_absent(other) else reading.start
        return True

    def move(self, start: Micros) -> None:
        """The Observation begins elsewhere now."""
        self._start = start
        if self.samples is not None:
            self.samples.move(start)

    def last(self) -> Micros:
        """The time of the last sample, 0 if there is none."""
        return 0 if self.samples is None else self.samples.last()

    def element(self, fields: Mapping[str, Any], end: Micros) -> dict[str, Any]:
        """The fields with the value and the times of it."""
        made = dict(fields)
        extensions = list(made.pop("extension", ()))
        if self.samples is not None:
            made["valueSampledData"] = self.samples.element(end)
            if offsets := self.samples.offsets():
                extensions.append({"url": SAMPLE_OFFSETS, "valueString": offsets})
        elif self._measured is not None:
            extensions.append({"url": MEASURED, "valueDateTime": date_time(self._measured)})
        return {**({"extension": extensions} if extensions else {}), **made}


def _value_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The elements of the value: one of value[x], or the reason why there is none."""
    return {
        name: value
        for name, value in fields.items()
        if name.startswith(("value", "_value")) or name == "dataAbsentReason"
    }


def _is_absent(value: Mapping[str, Any]) -> bool:
    return "dataAbsentReason" in value


def _codings(part: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """What tells a component from the others."""
    code = part.get("code") or {}
    return [(each.get("system"), each.get("code")) for each in code.get("coding") or ()] or [
        ("", code.get("text"))
    ]


def _date_time(moment: Micros) -> str:
    return date_time(_EPOCH + timedelta(microseconds=int(moment)))
