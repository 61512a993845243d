"""One value of a merged Observation: that of the Observation itself, or of a component.

Samples get their places by their times; of other values the one that was measured last counts.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, NamedTuple

from broker.fhir.date_times import date_time, earliest
from broker.fhir.merged_samples import MergedSamples, Micros, microseconds, sample_times, without_samples
from broker.fhir.unmergeable import Unmergeable
from broker.model.resource import Resource

MEASURED = "http://fhir-broker.org/fhir/StructureDefinition/measured"
"""Extension of an Observation or component: when its value was measured; `effectivePeriod` is the window."""
SAMPLE_OFFSETS = "http://fhir-broker.org/fhir/StructureDefinition/sample-offsets"
"""Extension with the times of samples within their periods (`MergedSamples.offsets`)."""


class Window(NamedTuple):
    """What readings are merged in. `key` distinguishes it from others of the device, patient and type;
    `bounds` are the first and last moment, None if they are those of the readings.
    """

    key: str
    bounds: tuple[datetime, datetime] | None


class MergeReading(NamedTuple):
    """A reading as an Observation of its own, to be merged. `correction` is '' or a status; `required` are
    the components that the Observation always has, as they are without a value.
    """

    resource: Resource
    start: datetime
    end: datetime | None
    window: Window
    correction: str
    required: tuple[Mapping[str, object], ...] = ()


class MergedValue:
    """The value is in `fields`, which are the Observation or a component."""

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
        elif (value := value_of(self.fields)) and not is_absent(value):
            self._measured = reading.start

    def check(self, sent: Mapping[str, Any], reading: MergeReading) -> None:
        """Raises `Unmergeable` if the value of the reading contradicts this one."""
        value, other = value_of(self.fields), value_of(sent)
        if not value or not other or is_absent(value) is not is_absent(other):
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
        other = value_of(sent)
        if not other or (self.samples is not None and is_absent(other)):
            return False
        if self.samples is not None:
            return self.samples.add(sent["valueSampledData"], microseconds(reading.start))
        value = value_of(self.fields)
        if value and is_absent(other) and (value == other or not is_absent(value)):
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
            self._measured = None if is_absent(other) else reading.start
        return True

    def remove(self, times: Collection[Micros], *, removes_reason: bool) -> bool:
        """Removes what was measured at these times, and with `removes_reason` the reason why there is no
        value. Whether there was one.
        """
        if self.samples is not None:
            if not self.samples.remove(times):
                return False
            if self.samples.moments():
                return True
            self.samples = None
        elif not (removes_reason if is_absent(value_of(self.fields)) else self._is_of(times)):
            return False
        for name in (value := value_of(self.fields)):
            del self.fields[name]
        self._measured = None
        return bool(value)

    def _is_of(self, times: Collection[Micros]) -> bool:
        return self._measured is not None and microseconds(self._measured) in times

    @property
    def is_there(self) -> bool:
        """Whether there is a value, or a reason why there is none."""
        return bool(value_of(self.fields))

    @property
    def is_measured(self) -> bool:
        """Whether there is a value."""
        value = value_of(self.fields)
        return bool(value) and not is_absent(value)

    def move(self, start: Micros) -> None:
        """The Observation begins elsewhere now."""
        self._start = start
        if self.samples is not None:
            self.samples.move(start)

    def moments(self) -> list[Micros]:
        """When what is there was measured, as far as it is known."""
        if self.samples is not None:
            return self.samples.moments()
        return [] if self._measured is None else [microseconds(self._measured)]

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


def value_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The elements of the value: one of value[x], or the reason why there is none."""
    return {
        name: value
        for name, value in fields.items()
        if name.startswith(("value", "_value")) or name == "dataAbsentReason"
    }


def is_absent(value: Mapping[str, Any]) -> bool:
    return "dataAbsentReason" in value


def times_of(part: Mapping[str, Any], reading: MergeReading) -> list[Micros]:
    """When what the reading says of the part was measured."""
    if "valueSampledData" in part:
        return sample_times(part["valueSampledData"], reading.start)
    return [microseconds(reading.start)]


def without(
    part: Mapping[str, Any], reading: MergeReading, times: AbstractSet[Micros]
) -> Mapping[str, Any] | None:
    """The part without what was measured at these times; None if nothing is left."""
    if times.isdisjoint(times_of(part, reading)):
        return part
    if "valueSampledData" in part:
        sampled = without_samples(part["valueSampledData"], reading.start, times)
        return None if sampled is None else {**part, "valueSampledData": sampled}
    return None
