"""Warns of a `merge` whose window or period is too small for the readings to be merged.

A period is too small if the times of the device cannot distinguish its places: samples then compete for some
of the places, and the others stay empty. It is also too small if it is much shorter than the distance between
the samples of given payloads. `mappings check` prints the warnings; a mapping with warnings can be used.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.reading import MappedReading
from broker.mapping.sampled import WINDOWS_MS
from broker.mapping.yaml_document import Path, YamlDocument

_TICKS_MS: Mapping[str, Decimal] = {
    "iso": Decimal("0.001"),
    "epoch-us": Decimal("0.001"),
    "epoch-ms": Decimal(1),
    "epoch-s": Decimal(1000),
    "date": Decimal(86_400_000),
}
_DIRECTIVES: Sequence[tuple[str, Decimal]] = (
    ("f", Decimal("0.001")),
    ("SXc", Decimal(1000)),
    ("M", Decimal(60_000)),
    ("HI", Decimal(3_600_000)),
)
"""Directives of strptime, from the finest to the coarsest, and what they distinguish in milliseconds."""
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1))
_EPOCHS = frozenset({"epoch-s", "epoch-ms"})


class _Sampled(NamedTuple):
    """Sampled data of a merged observation: where its period is, the period in ms, and the code of what is
    sampled as readings have it, None if it is the value of the Observation itself.
    """

    path: Path
    period: Decimal
    code: Mapping[str, object] | None


def tick_ms(time_format: str) -> Decimal:
    """What times of a format distinguish, in milliseconds."""
    if time_format in _TICKS_MS:
        return _TICKS_MS[time_format]
    directives = {each[:1] for each in time_format.replace("%%", "").split("%")[1:]}
    return next(
        (tick for letters, tick in _DIRECTIVES if not directives.isdisjoint(letters)), _TICKS_MS["date"]
    )


def merge_warnings(
    document: YamlDocument, mapping: DeviceMapping, readings: Sequence[MappedReading] = ()
) -> list[str]:
    """Each names file, line and field. `document` is the file that `mapping` was compiled from; `readings`
    are those of its device's payloads, if there are any.
    """
    return list(_warnings(document, mapping, readings))


def _warnings(
    document: YamlDocument, mapping: DeviceMapping, readings: Sequence[MappedReading]
) -> Iterator[str]:
    for number, members in enumerate(document.value["observations"]):
        if "merge" not in members:
            continue
        path: Path = ("observations", number)
        rule = mapping.observations[number]
        time_format = (rule.time or mapping.time).format
        sampled = list(_sampled(path, members, [component.code for component in rule.components]))
        if not sampled and (text := _window_problem(members["merge"], time_format)):
            yield str(document.error((*path, "merge"), text))
        merged = [each for each in readings if each.mapping == mapping.name and each.name == rule.name]
        for each in sampled:
            text = _clock_problem(each.period, time_format) or _interval_problem(each, merged)
            if text:
                yield str(document.error(each.path, text))


def _sampled(
    path: Path, members: Mapping[str, Any], codes: Sequence[Mapping[str, object]]
) -> Iterator[_Sampled]:
    if "sampled-data" in members:
        yield _Sampled((*path, "sampled-data", "period"), Decimal(members["sampled-data"]["period"]), None)
    for number, component in enumerate(members.get("components", ())):
        if "sampled-data" in component:
            place: Path = (*path, "components", number, "sampled-data", "period")
            yield _Sampled(place, Decimal(component["sampled-data"]["period"]), codes[number])


def _window_problem(merge: str | Mapping[str, Any], time_format: str) -> str:
    """'' if the times can distinguish the readings of the window."""
    tick = tick_ms(time_format)
    if not isinstance(merge, str) or tick < WINDOWS_MS.get(merge, math.inf):
        return ""
    return (
        f"all readings of one {_length(tick)} have the same time ({time_format}), so another value is a "
        "conflict. Take a finer time, or leave merge out and let discriminator distinguish them."
    )


def _clock_problem(period: Decimal, time_format: str) -> str:
    """'' if the times can distinguish the places of the samples."""
    tick = tick_ms(time_format)
    if tick <= period:
        return ""
    fractions = ", unless they have fractions" if time_format in _EPOCHS else ""
    return (
        f"times of the format {time_format} are {_length(tick)} apart{fractions}, and a place of "
        f"{_length(period)} is shorter: samples get the places of others. Take a finer time, or a period of "
        f"{_number(tick)}."
    )


def _interval_problem(sampled: _Sampled, readings: Sequence[MappedReading]) -> str:
    """'' if the samples of the readings are less than two periods apart."""
    interval = _interval_ms(sampled.code, readings)
    if interval is None or interval < 2 * sampled.period:
        return ""
    return (
        f"the samples of the payloads are {_length(interval)} apart or more, and a place has "
        f"{_length(sampled.period)}: at least {int(interval / sampled.period) - 1} of "
        f"{int(interval / sampled.period)} places stay empty. Take a period of about {_number(interval)}."
    )


def _interval_ms(code: Mapping[str, object] | None, readings: Sequence[MappedReading]) -> Decimal | None:
    """The shortest distance between two samples of one Observation; None if there are no two. A reading of
    several samples has one each period of time up to the next reading.
    """
    starts: dict[object, dict[Decimal, int]] = {}
    for reading in readings:
        if (count := _count(reading.resource, code)) and reading.merge is not None:
            patient = reading.patient.identifier if reading.patient else None
            key = (reading.device.identifier, patient, reading.merge.key)
            moments = starts.setdefault(key, {})
            moment = Decimal(reading.start.timestamp()) * 1000
            moments[moment] = max(count, moments.get(moment, 0))
    distances = [
        (later - earlier) / moments[earlier]
        for moments in starts.values()
        for earlier, later in pairwise(sorted(moments))
    ]
    return round(min(distances), 3) if distances else None


def _count(resource: Mapping[str, Any], code: Mapping[str, object] | None) -> int:
    """How many places the samples take, 0 if there are none."""
    parts = [resource] if code is None else [each for each in resource["component"] if each["code"] == code]
    return sum(len(str(part.get("valueSampledData", {}).get("data", "")).split()) for part in parts)


def _length(milliseconds: Decimal) -> str:
    for unit, size in _UNITS:
        if milliseconds >= size:
            return f"{_number(milliseconds / size)} {unit}"
    return f"{_number(milliseconds)} ms"


def _number(number: Decimal) -> str:
    return format(round(number, 3).normalize(), "f")
