"""The settings of secrets: the key ring, and the rotation of the secrets that sign notifications."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from broker.settings.environment import setting
from broker.settings.kinds import BOOL, DURATION, PATH


@dataclass(frozen=True)
class SealingSettings:
    """Part of `Settings`."""

    key_ring: Path | None = setting(
        None,
        PATH,
        "",
        "The file with the keys that seal secrets in the store; make it with fhir-broker key-ring create."
        " Unset: a file in BROKER_DATA_DIR, made at the first start, with an embedded store; otherwise"
        " Subscriptions with headers or signatures are refused.",
    )
    seal_resources: bool = setting(
        False,
        BOOL,
        "false",
        "Seals the bodies of resources and quarantined readings before they reach the store"
        " (docs/secrets.md). Those that are stored already stay as they are.",
    )
    secret_overlap: timedelta = setting(
        timedelta(hours=24),
        DURATION,
        "24h",
        "How long notifications are signed with the old secret of a Subscription too after it was rotated.",
    )
