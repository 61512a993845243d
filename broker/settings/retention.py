"""The settings of what is kept, and for how long. They are fields of `Settings`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import DURATION, KEEP, number

EVENT_LIKE_TYPES = (
    "Communication",
    "DiagnosticReport",
    "MedicationAdministration",
    "Observation",
    "Provenance",
)
"""Types whose resources report what happened: they come in without end, and the EHR keeps the record."""


@dataclass(frozen=True)
class RetentionSettings:
    """How long data is kept, and how much of it. The matcher, the housekeeper and the store read them."""

    retention: timedelta = setting(
        timedelta(days=7),
        DURATION,
        "7d",
        "How long events, superseded versions and deletions are kept, and the current versions of the types"
        " in BROKER_KEEP. At least the retry budget.",
        agreement=Agreement.REQUIRED,
    )
    keep: tuple[tuple[str, timedelta | None], ...] = setting(
        (),
        KEEP,
        "",
        "How long the current versions of a type are kept, at least BROKER_RETENTION: a duration or forever. "
        "Unset: Communication, DiagnosticReport, MedicationAdministration, Observation and "
        "Provenance for the retention, all other types forever.",
        agreement=Agreement.REQUIRED,
    )
    max_outbox: int = setting(
        1_000_000,
        number(10, 100_000_000),
        "1000000",
        "The number of events kept for one subscription. Above it, delivered events are deleted "
        "first. If undelivered events must be deleted, the subscription goes to error.",
        agreement=Agreement.EXPECTED,
    )
    max_changes: int = setting(
        1_000_000,
        number(10, 100_000_000),
        "1000000",
        "The number of changes of one partition that may wait to be matched. Above it, producers get 503.",
        agreement=Agreement.EXPECTED,
    )
    max_refused: int = setting(
        100_000,
        number(1, 100_000_000),
        "100000",
        "The number of refused entries of the inbox stream that are kept of one tenant.",
        agreement=Agreement.EXPECTED,
    )
    max_dead_letters: int = setting(
        10_000,
        number(1, 100_000_000),
        "10000",
        "The number of unmatchable changes kept as dead letters of one tenant in one partition.",
        agreement=Agreement.EXPECTED,
    )

    @property
    def kept_types(self) -> Mapping[str, timedelta]:
        """How long the current version of a resource is kept, by type; a type that is absent: forever."""
        kept: dict[str, timedelta | None] = dict.fromkeys(EVENT_LIKE_TYPES, self.retention)
        kept.update(self.keep)
        return {name: duration for name, duration in kept.items() if duration is not None}
