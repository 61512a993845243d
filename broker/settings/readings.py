"""The settings of devices: what is done with what mappings do not say, and what a device may see."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import DURATION, ELEMENTS, choice, number


@dataclass(frozen=True)
class ReadingSettings:
    """Part of `Settings`."""

    reading_devices: Literal["create", "lookup", "refuse"] = setting(
        "create",
        choice("create", "lookup", "refuse"),
        "create",
        "What is done with the Device that a reading names, unless its mapping says. create: it is looked up "
        "by its identifier, and created if there is none. lookup: a reading of an unknown one waits in "
        "quarantine. refuse: such readings are refused.",
    )
    reading_patients: Literal["create", "lookup", "refuse"] = setting(
        "lookup",
        choice("create", "lookup", "refuse"),
        "lookup",
        "The same for the Patient that a reading names.",
    )
    reading_metrics: Literal["create", "off"] = setting(
        "create",
        choice("create", "off"),
        "create",
        "Whether a DeviceMetric is created for each kind of measurement of a device that has an MDC code.",
    )
    reading_clock: Literal["quarantine", "flag"] = setting(
        "quarantine",
        choice("quarantine", "flag"),
        "quarantine",
        "What is done with a reading of an implausible time: later than its arrival, of a clock that was "
        "reset, or before its device was made or first in use. flag: it is accepted with a tag.",
    )
    reading_future: timedelta = setting(
        timedelta(minutes=5),
        DURATION,
        "5m",
        "By how much the time of a reading may be later than its arrival.",
    )
    max_quarantined: int = setting(
        100_000,
        number(1, 100_000_000),
        "100000",
        "The number of quarantined readings that are kept of one tenant.",
        agreement=Agreement.EXPECTED,
    )
    context_elements: tuple[str, ...] = setting(
        (),
        ELEMENTS,
        "",
        "The elements to which Device/[id]/$context limits resources: a type without any is shown whole. "
        "Unset: what a device needs of Patient, CareTeam and MedicationRequest.",
        agreement=Agreement.EXPECTED,
    )
