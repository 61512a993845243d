"""Reads settings from `BROKER_*` environment variables, and describes them for the documentation.

A value that is not valid, and a `BROKER_*` variable that is not a setting (usually a misspelling), raise
`ConfigurationError`: one line that names the variable and what to set.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import Field, field, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple, cast

from broker.errors import ConfigurationError
from broker.settings.kinds import SettingKind, duration_text

PREFIX = "BROKER_"
_OF_COMMANDS = frozenset({"BROKER_CLIENT_ID", "BROKER_CLIENT_KEY"})
"""The credentials with which commands use a broker: no settings of one."""


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


def read(settings: tuple["Field[Any]", ...], environ: Mapping[str, str]) -> dict[str, Any]:
    """The values of the variables that are set, by field name. An empty variable counts as unset."""
    by_variable = {_variable(setting): setting for setting in settings}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in by_variable and variable not in _OF_COMMANDS:
            raise ConfigurationError(f"{variable} is not a setting. {_suggestion(variable, by_variable)}")
    values: dict[str, Any] = {}
    for variable, setting in by_variable.items():
        text = environ.get(variable, "").strip()
        if text:
            values[setting.name] = _read(variable, setting.metadata["kind"], text)
    return values


def describe(settings: tuple["Field[Any]", ...]) -> list[Description]:
    """Each setting in the order of its definition."""
    return [
        Description(
            _variable(setting),
            setting.metadata["kind"].name,
            setting.metadata["default"],
            setting.metadata["sentence"],
        )
        for setting in settings
    ]


def values_to_compare(settings: Any, agreement: Agreement) -> dict[str, str]:
    """The values of a `Settings` with this agreement, by variable, as written in the environment."""
    return {
        _variable(setting): _text(getattr(settings, setting.name))
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


def _variable(setting: "Field[Any]") -> str:
    return PREFIX + setting.name.upper()


def _suggestion(variable: str, by_variable: Mapping[str, object]) -> str:
    names = [name.removeprefix(PREFIX) for name in by_variable]
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), names, 1)
    return (
        f"Did you mean {PREFIX}{near[0]}?" if near else f"The settings are {', '.join(sorted(by_variable))}."
    )


def _read(variable: str, kind: SettingKind, text: str) -> object:
    try:
        return kind.read(text)
    except ValueError:
        # a URL may contain a password
        shown = re.sub(r"//[^/]*@", "//***@", text)
        raise ConfigurationError(f"{variable}={shown!r} is not valid. Set {kind.accepts}.") from None
