"""The key ring: seals secrets before they reach the store, and opens them again.

A ring is a file with one or more keys of AES-256-GCM. The active key seals; every key opens. A sealed value
starts with the id of its key, so that keys can be changed one after the other, and it is bound to its place:
a value that was copied to another tenant, owner or purpose does not open.

The file is read again when it has changed, so a running process uses a new key from its next write on.
`app/secrets.py` opens the ring, `cli/key_ring.py` changes it.
"""

import base64
import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import BrokerError, ConfigurationError
from broker.security.secret_files import write_secret

_log = structlog.get_logger(__name__)
_FORMAT = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES
_MIN_BYTES = _HEAD_BYTES + _NONCE_BYTES + _TAG_BYTES


class SecretUnreadable(BrokerError):  # noqa: N818 names the condition
    """A sealed value cannot be opened."""


class KeyMissing(SecretUnreadable):
    """A value is sealed under a key that the ring does not have."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the key ring has no key {key_id}; restore it from the backup of the key ring")
        self.key_id = key_id


class SealBroken(SecretUnreadable):
    """A sealed value was altered, or is not the one of this place."""


class Place(NamedTuple):
    """What a sealed value is bound to: it opens nowhere else. `owner` is a reference such as
    `Subscription/ward-3`.
    """

    tenant: str
    owner: str
    purpose: str

    def encoded(self) -> bytes:
        """The parts, each after its length, so that no two places are alike."""
        parts = [part.encode() for part in self]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key with its id, 16 hexadecimal digits, and the instant at which it was made."""

    id: str
    created: str
    secret: bytes

    @classmethod
    def generate(cls, created: str) -> "RingKey":
        return cls(secrets.token_hex(_ID_BYTES), created, secrets.token_bytes(_KEY_BYTES))

    def __repr__(self) -> str:
        return f"RingKey({self.id})"


@dataclass(frozen=True, slots=True)
class RingFile:
    """The content of a key ring's file. The active key is one of `keys`."""

    active_id: str
    keys: tuple[RingKey, ...]

    @classmethod
    def read(cls, path: Path) -> "RingFile":
        """Raises `ConfigurationError` for a file that is not a key ring."""
        try:
            return cls._parse(json.loads(path.read_bytes()))
        except OSError as error:
            raise ConfigurationError(f"The key ring {path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError):
            # without the cause: it could quote a key
            raise ConfigurationError(
                f"The file {path} is not a key ring. Make one with `fhir-broker key-ring create`."
            ) from None

    @classmethod
    def _parse(cls, document: Mapping[str, object]) -> "RingFile":
        listed, active_id = document["keys"], document["active"]
        if not isinstance(listed, list):
            raise TypeError
        keys = tuple(
            RingKey(each["id"], each["created"], base64.b64decode(each["key"], validate=True))
            for each in listed
        )
        ids = [key.id for key in keys]
        is_valid = all(
            len(key.secret) == _KEY_BYTES and len(bytes.fromhex(key.id)) == _ID_BYTES for key in keys
        )
        if not isinstance(active_id, str) or active_id not in ids or len(set(ids)) < len(ids) or not is_valid:
            raise ValueError
        return cls(active_id, keys)

    def write(self, path: Path, *, is_new: bool = False) -> None:
        """Replaces the file as a whole, readable by its owner only. With `is_new`, a file that another
        process made meanwhile stays, and `FileExistsError` is raised.
        """
        document = {
            "active": self.active_id,
            "keys": [
                {"id": key.id, "created": key.created, "key": base64.b64encode(key.secret).decode()}
                for key in self.keys
            ],
        }
        write_secret(path, json.dumps(document, indent=2).encode() + b"\n", is_new=is_new)


class KeyRing:
    """The keys of a file as this process knows them."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigurationError` for a file that is not a key ring."""
        self.path = path
        self._stamp = _stamp_of(path)
        self._load(RingFile.read(path))

    def _load(self, content: RingFile) -> None:
        self._active_id = content.active_id
        self._ciphers = {key.id: AESGCM(key.secret) for key in content.keys}

    @property
    def active_id(self) -> str:
        """The key that seals now."""
        self._refresh()
        return self._active_id

    @property
    def key_ids(self) -> frozenset[str]:
        return frozenset(self._ciphers)

    def seal(self, plain: bytes, place: Place, key_id: str = "") -> bytes:
        """The value under the active key, or that of `key_id`; the same value is never sealed to the same
        bytes. Raises `KeyMissing`.
        """
        key_id = key_id or self.active_id
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyMissing(key_id)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = cipher.encrypt(nonce, plain, place.encoded())
        return _FORMAT + bytes.fromhex(key_id) + nonce + sealed

    def open(self, sealed: bytes, place: Place) -> bytes:
        """The value. Raises `KeyMissing` or `SealBroken`."""
        key_id = key_id_of(sealed)
        if key_id not in self._ciphers:
            self._refresh()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyMissing(key_id)
        nonce_end = _HEAD_BYTES + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[_HEAD_BYTES:nonce_end], sealed[nonce_end:], place.encoded())
        except InvalidTag:
            raise SealBroken(f"the {place.purpose} of {place.owner} cannot be opened: altered") from None

    def _refresh(self) -> None:
        """Reads the file again if it has changed. A file that cannot be read now leaves the keys as they
        are.
        """
        stamp = _stamp_of(self.path)
        if stamp in {self._stamp, None}:
            return
        with contextlib.suppress(ConfigurationError):
            self._load(RingFile.read(self.path))
            self._stamp = stamp
            _log.info("key ring read again", active=self._active_id, keys=len(self._ciphers))


def key_id_of(sealed: bytes) -> str:
    """The id of the key under which a value is sealed. Raises `SealBroken` for what is no sealed value."""
    if len(sealed) < _MIN_BYTES or not sealed.startswith(_FORMAT):
        raise SealBroken("a stored value is not sealed in a form that this broker reads")
    return sealed[len(_FORMAT) : _HEAD_BYTES].hex()


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
