"""The texts of resources as the store has them: compressed, and sealed if `BROKER_SEAL_RESOURCES` says so.

Sealed and unsealed texts lie side by side, because the setting may change: each is read by what it is. Its
first byte says so. The scripts never look into a text. `app/secrets.py` connects this with the key ring.
"""

from typing import Protocol

from broker.errors import StoreUnavailable
from broker.model.change import Tenant
from broker.store.compression import compress, decompress
from broker.store.sealing_keys import SealingKeys

SEALED = b"\x01"
"""The first byte of a sealed text; compressed ones begin with another."""


class Cipher(Protocol):
    """Seals and opens texts of resources, each bound to its tenant and `Type/id`."""

    @property
    def active_id(self) -> str:
        """The key that seals now."""

    def seal(self, plain: bytes, tenant: Tenant, reference: str, key_id: str) -> bytes:
        """Begins with `SEALED`."""

    def open(self, sealed: bytes, tenant: Tenant, reference: str) -> bytes:
        """Raises `ValueError` for a text that was altered or moved, and `StoreUnavailable` without its
        key: the key may come back.
        """


class Bodies:
    """Packs and unpacks texts. Without a cipher it reads no sealed text; without `sealing_keys` it seals
    none.
    """

    def __init__(self, cipher: Cipher | None = None, sealing_keys: SealingKeys | None = None) -> None:
        self._cipher = cipher
        self._sealing_keys = sealing_keys

    async def sealing_key(self) -> str:
        """The key to `pack` with, which the store now has on record; '' if texts are not sealed."""
        if self._cipher is None or self._sealing_keys is None:
            return ""
        key_id = self._cipher.active_id
        await self._sealing_keys.record(key_id)
        return key_id

    def pack(self, text: bytes, tenant: Tenant, reference: str, key_id: str) -> bytes:
        """The stored form of the text of `Type/id`, sealed under the key unless that is ''."""
        packed = compress(text)
        if self._cipher is None or not key_id:
            return packed
        return self._cipher.seal(packed, tenant, reference, key_id)

    def unpack(self, stored: bytes, tenant: Tenant, reference: str) -> bytes:
        """The text. Raises `ValueError` for a damaged one, and `StoreUnavailable` if its key is missing."""
        if not stored.startswith(SEALED):
            return decompress(stored)
        if self._cipher is None:
            raise StoreUnavailable("a stored resource is sealed, and there is no key ring to open it with")
        return decompress(self._cipher.open(stored, tenant, reference))


UNSEALED = Bodies()
"""Compressed texts only."""
