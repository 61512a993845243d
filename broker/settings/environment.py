"""Declares settings, describes them for the documentation, and compares those of processes."""

from dataclasses import Field, field, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple, cast

from broker.settings.kinds import SettingKind, duration_text
from broker.settings.written import variable


class Agreement(StrEnum):
    """What happens when processes of one store have different values of a setting."""

    REQUIRED = "required"
    """The later process is refused."""
    EXPECTED = "expected"
    """The later process logs a warning."""
    NONE = "none"
    """Nothing: each process may have its own, or the layout record of the store compares it."""


class Description(NamedTuple):
    """One row of docs/configuration.md."""

    variable: str
    kind: str
    default: str
    sentence: str


def setting(
    default: Any,
    kind: SettingKind,
    shown: str,
    sentence: str,
    *,
    is_secret: bool = False,
    agreement: Agreement = Agreement.NONE,
) -> Any:
    """A field of `Settings`. `shown` is its default as written in the environment, or '' if unset.

    A callable `default` is called for each instance. A secret is not part of `repr`. The result is `Any`, so
    that the annotation of the field is its type, as with `dataclasses.field`.
    """
    metadata = {"kind": kind, "default": shown, "sentence": sentence, "agreement": agreement}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not is_secret)
    return field(default=default, metadata=metadata, repr=not is_secret)


def describe(settings: tuple["Field[Any]", ...]) -> list[Description]:
    """Each setting in the order of its definition."""
    return [
        Description(
            variable(setting.name),
            setting.metadata["kind"].name,
            setting.metadata["default"],
            setting.metadata["sentence"],
        )
        for setting in settings
    ]


def values_to_compare(settings: Any, agreement: Agreement) -> dict[str, str]:
    """The values of a `Settings` with this agreement, by variable, as written in the environment."""
    return {
        variable(setting.name): _text(getattr(settings, setting.name))
        for setting in fields(settings)
        if setting.metadata["agreement"] is agreement
    }


def _text(value: object) -> str:
    match value:
        case None:  # of BROKER_AUDIT_RETENTION
            return "forever"
        case bool():
            return str(value).lower()
        case timedelta():
            return duration_text(value)
        case (str() as name, timedelta() | None as duration):  # of BROKER_KEEP
            return f"{name}={'forever' if duration is None else duration_text(duration)}"
        case ((str(), tuple()), *_):  # of BROKER_SEARCH_INDEXES
            pairs = cast("tuple[tuple[str, tuple[str, ...]], ...]", value)
            return ";".join(f"{name}={','.join(indexes)}" for name, indexes in pairs)
        case tuple():
            return ",".join(map(_text, value)) or "unset"
    return str(value)
