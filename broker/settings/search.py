"""The settings of searches of stored resources."""

from dataclasses import dataclass
from datetime import timedelta

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import DURATION, INDEXES

DEFAULT_INDEXES = (
    ("Observation", ("subject+code@date", "subject@date", "device")),
    ("*", ("subject", "patient", "device")),
)


@dataclass(frozen=True)
class SearchSettings:
    """Part of `Settings`."""

    search_indexes: tuple[tuple[str, tuple[str, ...]], ...] = setting(
        DEFAULT_INDEXES,
        INDEXES,
        "Observation=subject+code@date,subject@date,device;*=subject,patient,device",
        "The resource types that can be searched, * for all that are not named, and the indexes of each"
        " besides _id, identifier, _lastUpdated and date: parameters joined by +, with @date in the order of"
        " the clinical date (docs/http-api.md). off: none can be searched. After a change the indexes are"
        " built again.",
        agreement=Agreement.REQUIRED,
    )
    export_keep: timedelta = setting(
        timedelta(hours=6),
        DURATION,
        "6h",
        "How long a bulk export and its files can be read, at most BROKER_RETENTION.",
        agreement=Agreement.EXPECTED,
    )
