"""Clients of a broker with access control: keys, registration files, and how they authenticate."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from broker.client import BackendServices
from broker.security.private_keys import PrivateKey


@cache
def key_of(client_id: str, algorithm: Literal["ES384", "RS384"] = "ES384") -> PrivateKey:
    """The private key of a client, the same whenever it is asked for."""
    return PrivateKey.generate(algorithm)


def registration(client_id: str, scope: str, **members: Any) -> dict[str, Any]:
    """A registration of the client with its key of `key_of`."""
    jwks = {"keys": [dict(key_of(client_id).public_jwk)]}
    return {"client_id": client_id, "scope": scope, "jwks": jwks} | members


def register(folder: Path, client_id: str, scope: str, **members: Any) -> Path:
    """Writes the registration to a file of the folder."""
    path = folder / f"{client_id}.json"
    path.write_text(json.dumps(registration(client_id, scope, **members)))
    return path


def auth_of(base_url: str, client_id: str, scope: str) -> BackendServices:
    """How the client authenticates its requests to the R4 base."""
    return BackendServices(f"{base_url}/r4", client_id, key_of(client_id), scope)
