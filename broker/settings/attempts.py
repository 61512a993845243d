"""The settings of the log of delivery attempts. They are fields of `Settings`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import BOOL, DURATION, choice, number


@dataclass(frozen=True)
class AttemptSettings:
    """Part of `Settings`. Dispatchers, the API and the housekeeper read them."""

    attempt_log: bool = setting(
        True,
        BOOL,
        "on",
        "Whether each attempt to send a notification is recorded (docs/operating.md).",
        agreement=Agreement.EXPECTED,
    )
    max_attempts: int = setting(
        50,
        number(1, 10_000),
        "50",
        "The number of attempts that delivered that are kept of one subscription.",
        agreement=Agreement.EXPECTED,
    )
    max_failed_attempts: int = setting(
        200,
        number(1, 10_000),
        "200",
        "The number of attempts that failed that are kept of one subscription.",
        agreement=Agreement.EXPECTED,
    )
    attempt_retention: timedelta = setting(
        timedelta(days=7),
        DURATION,
        "7d",
        "How long attempts that delivered are kept.",
        agreement=Agreement.EXPECTED,
    )
    failed_attempt_retention: timedelta = setting(
        timedelta(days=30),
        DURATION,
        "30d",
        "How long attempts that failed are kept.",
        agreement=Agreement.EXPECTED,
    )
    attempt_bodies: Literal["off", "failed", "all"] = setting(
        "off",
        choice("off", "failed", "all"),
        "off",
        "Of which attempts the first 64 KiB that were sent and the first KiB of the answer are kept, at most"
        " for BROKER_RETENTION. They may be about patients: BROKER_SEAL_RESOURCES seals them too.",
        agreement=Agreement.EXPECTED,
    )
