"""The broker's own keys: which key of a tenant signs, and which are published (S-100).

A tenant's folder in BROKER_KEYS_DIR has its keys (`key_provider.py`) and `keys.json`, which names their uses.
`next` is published and does not sign yet, `current` signs, `previous` signs no more and stays published for
`PREVIOUS_MS`, since a server may still verify what it signed. `keys.json` has the public parts, so that
publishing needs no HSM.

A running process sees a rotation with its next use. `cli/keys.py` rotates; `api/jwks.py` publishes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from broker.errors import ConfigurationError
from broker.model.change import TENANT_PATTERN, Tenant
from broker.security.key_provider import Signer, open_signer
from broker.security.private_keys import PrivateKey
from broker.security.secret_files import write_secret

MAX_AGE_S = 300
"""For how long a server may keep the published keys (`Cache-Control` of the key set)."""
ANNOUNCED_MS = 2 * MAX_AGE_S * 1000
"""How long a key is published before it signs: then every server has seen it."""
PREVIOUS_MS = 24 * 3_600_000
"""How long a key stays published after it signed last."""
_MANIFEST = "keys.json"
_SUFFIXES = (".pem", ".toml")


class KeyUse(StrEnum):
    """What a key is for."""

    NEXT = "next"
    CURRENT = "current"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class BrokerKey:
    """A key by the name of its file, its use since an instant, and its public part."""

    name: str
    use: KeyUse
    since_ms: int
    jwk: Mapping[str, str]


class BrokerKeys:
    """The keys of all tenants; none without a directory."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._read: dict[Tenant, tuple[tuple[int, int], tuple[BrokerKey, ...]]] = {}
        self._signers: dict[tuple[Tenant, str], Signer] = {}

    def tenants(self) -> list[Tenant]:
        """Those with keys."""
        if self._directory is None or not self._directory.is_dir():
            return []
        names = sorted(path.parent.name for path in self._directory.glob(f"*/{_MANIFEST}"))
        return [Tenant(name) for name in names if TENANT_PATTERN.fullmatch(name)]

    def of(self, tenant: Tenant) -> tuple[BrokerKey, ...]:
        """The keys of a tenant. Raises `ConfigurationError` if its `keys.json` is not valid."""
        if self._directory is None:
            return ()
        path = self._folder(tenant) / _MANIFEST
        try:
            status = path.stat()
        except OSError:
            return ()
        stamp = (status.st_mtime_ns, status.st_ino)
        read = self._read.get(tenant)
        if read is None or read[0] != stamp:
            read = self._read[tenant] = stamp, _parse(path)
        return read[1]

    def published(self, tenant: Tenant, now_ms: int) -> list[Mapping[str, str]]:
        """The public parts for the key set: current, next, and previous until it has expired."""
        return [key.jwk for key in self.of(tenant) if not _is_expired(key, now_ms)]

    def signer(self, tenant: Tenant) -> Signer:
        """That of the current key. Raises `ConfigurationError` if there is none, and what `open_signer`
        raises. May block.
        """
        current = next((key for key in self.of(tenant) if key.use is KeyUse.CURRENT), None)
        if current is None:
            raise ConfigurationError(
                f"The tenant {tenant} has no key of the broker's own. Set BROKER_KEYS_DIR, and run"
                f" `fhir-broker keys rotate --tenant {tenant}`."
            )
        return self.signer_of(tenant, current)

    def signer_of(self, tenant: Tenant, key: BrokerKey) -> Signer:
        """That of any key of the tenant."""
        kid = key.jwk["kid"]
        if (tenant, kid) not in self._signers:
            signer = open_signer(self._file(tenant, key.name))
            if signer.public_jwk["kid"] != kid:
                raise ConfigurationError(
                    f"The key {key.name} of the tenant {tenant} is another one than the published {kid}."
                    " Restore it, or rotate the keys."
                )
            self._signers[tenant, kid] = signer
        return self._signers[tenant, kid]

    def rotate(
        self,
        tenant: Tenant,
        now_ms: int,
        *,
        following: str | None = None,
        first: str | None = None,
        at_once: bool = False,
    ) -> tuple[BrokerKey, ...]:
        """The next key becomes the current one, and `following` the next: the name of a file that is in the
        folder, or a new PEM. The first rotation needs a current key too: `first`, or a new PEM.

        Raises `ConfigurationError` while the next key has not been published for `ANNOUNCED_MS`, unless
        `at_once`; and what the provider of `following` raises.
        """
        if not TENANT_PATTERN.fullmatch(tenant):
            raise ConfigurationError(f"{tenant!r} is no name of a tenant.")
        before = self.of(tenant)
        upcoming = next((key for key in before if key.use is KeyUse.NEXT), None)
        if upcoming is not None and not at_once and now_ms - upcoming.since_ms < ANNOUNCED_MS:
            raise ConfigurationError(
                f"The next key is published since less than {ANNOUNCED_MS // 60_000} minutes, so servers may"
                " not have it yet. Rotate later, or with --at-once if the current key is compromised."
            )
        if upcoming is not None and first is not None:
            raise ConfigurationError(f"The key {upcoming.name} is the next one already. Leave out {first}.")
        current = self._add(tenant, first, now_ms, set()) if upcoming is None else upcoming
        added = self._add(tenant, following, now_ms, {current.name, *(key.name for key in before)})
        keys = [BrokerKey(current.name, KeyUse.CURRENT, now_ms, current.jwk), added]
        for key in before:
            if key.use is KeyUse.CURRENT:
                keys.append(BrokerKey(key.name, KeyUse.PREVIOUS, now_ms, key.jwk))
            elif key.use is KeyUse.PREVIOUS and not _is_expired(key, now_ms):
                keys.append(key)
        self._write(tenant, keys)
        kept = {key.name for key in keys}
        for key in before:
            if key.name not in kept:  # a description stays: the key behind it is the operator's to remove
                (self._folder(tenant) / f"{key.name}.pem").unlink(missing_ok=True)
        return tuple(keys)

    def _add(self, tenant: Tenant, name: str | None, now_ms: int, taken: set[str]) -> BrokerKey:
        if name is None:
            key = PrivateKey.generate()
            name = f"es384-{key.kid[:12]}"
            write_secret(self._folder(tenant) / f"{name}.pem", key.pem, is_new=True)
            return BrokerKey(name, KeyUse.NEXT, now_ms, key.public_jwk)
        if name in taken:
            raise ConfigurationError(f"The key {name} is or was in use. Give the new one another name.")
        jwk = open_signer(self._file(tenant, name)).public_jwk
        return BrokerKey(name, KeyUse.NEXT, now_ms, jwk)

    def _folder(self, tenant: Tenant) -> Path:
        if self._directory is None:
            raise ConfigurationError("There is no directory of keys. Set BROKER_KEYS_DIR.")
        return self._directory / tenant

    def _file(self, tenant: Tenant, name: str) -> Path:
        folder = self._folder(tenant)
        for suffix in _SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.parent == folder and path.is_file():
                return path
        raise ConfigurationError(f"There is no key {name} in {folder}: neither {name}.pem nor {name}.toml.")

    def _write(self, tenant: Tenant, keys: list[BrokerKey]) -> None:
        document = {
            "keys": [
                {"name": key.name, "use": key.use, "since_ms": key.since_ms, "jwk": dict(key.jwk)}
                for key in keys
            ]
        }
        write_secret(self._folder(tenant) / _MANIFEST, json.dumps(document, indent=2).encode() + b"\n")
        self._read.pop(tenant, None)


def _is_expired(key: BrokerKey, now_ms: int) -> bool:
    return key.use is KeyUse.PREVIOUS and now_ms - key.since_ms >= PREVIOUS_MS


def _parse(path: Path) -> tuple[BrokerKey, ...]:
    try:
        listed: list[dict[str, Any]] = json.loads(path.read_bytes())["keys"]
        keys = tuple(
            BrokerKey(str(each["name"]), KeyUse(each["use"]), int(each["since_ms"]), dict(each["jwk"]))
            for each in listed
        )
        kids = {key.jwk["kid"] for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not valid. Restore it from the backup.") from error
    if len(kids) < len(keys) or any({"d", "p", "q"} & key.jwk.keys() for key in keys):
        raise ConfigurationError(f"{path} is not valid: two keys of one kid, or a private key.")
    return keys
