"""Collects the settings as they are written: in `BROKER_*` environment variables, and in the TOML file that
`BROKER_CONFIG` names. A variable wins over the file.

In the file a setting has the name of its variable in lower case, without `BROKER_`. What is not valid, and a
name that is no setting (usually a misspelling), is a `Problem`: one line that says where it is and what to
set.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from broker.errors import ConfigurationError
from broker.settings.kinds import SettingKind

PREFIX = "BROKER_"
CONFIG = "BROKER_CONFIG"
ENVIRONMENT = "environment"
_NO_SETTINGS = frozenset({"BROKER_CLIENT_ID", "BROKER_CLIENT_KEY"})
"""The credentials with which commands use a broker."""


class Problem(NamedTuple):
    """What of a configuration is not valid, as one line. `source`: `environment`, or the path of the file."""

    setting: str
    source: str
    line: str


class Written(NamedTuple):
    """The text of a setting, in the form of its variable, and where it is from."""

    text: str
    source: str


@dataclass(slots=True)
class Configuration:
    """The settings that are written somewhere, by the name of their field."""

    written: dict[str, Written] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(settings: "Iterable[Field[Any]]", environ: Mapping[str, str]) -> Configuration:
    """Everything that is written. An empty value counts as unset.

    Raises `ConfigurationError` if there is a file that cannot be read, or that is not TOML.
    """
    kinds: dict[str, SettingKind] = {setting.name: setting.metadata["kind"] for setting in settings}
    configuration = Configuration()
    _read_environment(kinds, environ, configuration)
    if path := environ.get(CONFIG, "").strip():
        in_file = {name: kind for name, kind in kinds.items() if variable(name) != CONFIG}
        _read_file(in_file, Path(path), configuration)
    return configuration


def variable(name: str) -> str:
    """The variable of a field of `Settings`."""
    return PREFIX + name.upper()


def masked(text: str) -> str:
    """The text of a setting without the user and the passwords that a URL can have."""
    return re.sub(r"(password=)[^&\s\"]*", r"\1***", re.sub(r"//.*@", "//***@", text))


def _read_environment(
    kinds: Mapping[str, SettingKind], environ: Mapping[str, str], configuration: Configuration
) -> None:
    names = {variable(name): name for name in kinds}
    for each in sorted(environ):
        if each.startswith(PREFIX) and each not in names and each not in _NO_SETTINGS:
            line = f"{each} is not a setting. {_suggestion(each, names)}"
            configuration.problems.append(Problem(each, ENVIRONMENT, line))
    for each, name in names.items():
        text = environ.get(each, "").strip()
        if not text:
            continue
        configuration.written[name] = Written(text, ENVIRONMENT)
        try:
            configuration.values[name] = kinds[name].read(text)
        except ValueError:
            line = f"{each}={masked(text)!r} is not valid. Set {kinds[name].accepts}."
            configuration.problems.append(Problem(each, ENVIRONMENT, line))


def _read_file(kinds: Mapping[str, SettingKind], path: Path, configuration: Configuration) -> None:
    source = str(path)
    for name, value in _parse(path).items():
        if name not in kinds:
            line = f"{source}: {name} is not a setting. {_suggestion(name, kinds)}"
            configuration.problems.append(Problem(name, source, line))
            continue
        try:
            text = kinds[name].text_of(value).strip()
            read = kinds[name].read(text) if text else None
        except ValueError:
            shown = masked(json.dumps(value, default=str, ensure_ascii=False))
            line = f"{source}: {name} = {shown} is not valid. Set {kinds[name].accepts}."
            configuration.problems.append(Problem(name, source, line))
            continue
        if text and name not in configuration.written:
            configuration.written[name] = Written(text, source)
            configuration.values[name] = read


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{CONFIG}={path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from error


def _suggestion(name: str, names: Iterable[str]) -> str:
    """The setting that was probably meant, as it is written in the same place; otherwise all of them."""
    by_field = {each.removeprefix(PREFIX).lower(): each for each in names}
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX).lower(), by_field, 1)
    if near:
        return f"Did you mean {by_field[near[0]]}?"
    return f"The settings are {', '.join(sorted(by_field.values()))}."
