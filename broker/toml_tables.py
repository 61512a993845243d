"""Reads a TOML file of the operator that holds tables of one name and nothing else."""

import tomllib
from pathlib import Path
from typing import Any

from broker.errors import ConfigurationError


def read_tables(path: Path, setting: str, name: str) -> list[Any]:
    """The tables `[[name]]` of the file that `setting` names, in their order; their members are not checked.

    Raises `ConfigurationError`.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{setting}={path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from error
    tables = document.pop(name, [])
    if document or not isinstance(tables, list):
        raise ConfigurationError(f"{path}: write tables [[{name}]] and nothing else.")
    return tables
