"""Seals the texts of stored resources and quarantined readings with the key ring. `store/bodies.py` says
when.

A text is bound to its tenant, type and id, not to its version: the store assigns that after the text was
sealed.
"""

from broker.errors import StoreUnavailable
from broker.model.change import Tenant
from broker.security.key_ring import KeyMissing, KeyRing, Place, SealBroken

_PURPOSE = "resource"


class ResourceCipher:
    """A ring, for resources."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @property
    def active_id(self) -> str:
        return self._ring.active_id

    def seal(self, plain: bytes, tenant: Tenant, reference: str, key_id: str) -> bytes:
        return self._ring.seal(plain, Place(tenant, reference, _PURPOSE), key_id)

    def open(self, sealed: bytes, tenant: Tenant, reference: str) -> bytes:
        """Raises `ValueError` for a text that was altered or moved, and `StoreUnavailable` without its key:
        whoever needs the text tries again, so nothing is given up while an operator restores the key.
        """
        try:
            return self._ring.open(sealed, Place(tenant, reference, _PURPOSE))
        except KeyMissing as error:
            raise StoreUnavailable(f"a stored resource cannot be opened: {error}") from error
        except SealBroken as error:
            raise ValueError(str(error)) from error
