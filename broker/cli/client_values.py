"""Registered clients as the commands show them, and the keys that commands make and read."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from broker.errors import ConfigurationError
from broker.security.private_keys import PrivateKey

Members = Mapping[str, Any]
"""A registration as JSON."""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client in the list."""

    client_id: str
    name: str
    enabled: bool
    source: str
    roles: list[str]
    scopes: list[str]
    keys: list[str]

    @classmethod
    def of(cls, members: Members) -> Self:
        return cls(
            client_id=members["client_id"],
            name=members.get("client_name", ""),
            enabled=not members.get("disabled", False),
            source=members["source"],
            roles=list(members.get("roles", ())),
            scopes=members.get("scope", "").split(),
            keys=[members["jwks_uri"]] if "jwks_uri" in members else kids_of(members),
        )


@dataclass(frozen=True, slots=True)
class ClientDetails:
    """One client. `registration` is its JSON."""

    client_id: str
    name: str
    tenant: str
    enabled: bool
    source: str
    roles: list[str]
    scopes: list[str]
    keys: list[str]
    registration: dict[str, Any]

    @classmethod
    def of(cls, members: Members) -> Self:
        row = ClientRow.of(members)
        registration = {name: value for name, value in members.items() if name != "source"}
        return cls(
            client_id=row.client_id,
            name=row.name,
            tenant=members.get("tenant", "default"),
            enabled=row.enabled,
            source=row.source,
            roles=row.roles,
            scopes=row.scopes,
            keys=row.keys,
            registration=registration,
        )


def kids_of(members: Members) -> list[str]:
    return [key["kid"] for key in members.get("jwks", {}).get("keys", ())]


def make_key(path: Path, algorithm: str) -> PrivateKey:
    """Makes a key, and writes it to a new file that only its owner can read. Raises `ConfigurationError`."""
    if algorithm not in {"ES384", "RS384"}:
        raise ConfigurationError(f"--algorithm {algorithm} is neither ES384 nor RS384.")
    key = PrivateKey.generate("RS384" if algorithm == "RS384" else "ES384")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.pem)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists. Name a new file: keys are not overwritten.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error
    return key


def read_key_set(path: Path) -> list[Any]:
    """The keys of a file with a JSON Web Key Set, or with one key. Raises `ConfigurationError`."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}. Name a file that can be read.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not JSON. Name a JSON Web Key Set.") from error
    keys = content.get("keys", [content]) if isinstance(content, dict) else None
    if not isinstance(keys, list):
        raise ConfigurationError(f"{path} is no JSON Web Key Set. Name one.")
    return keys
