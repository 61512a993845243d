"""The secrets of a Subscription: the values of its headers, and the secrets that sign its notifications.

A Subscription that is stored has a mask in the place of each header value, in its document and in its
settings; the values are sealed beside them. So whatever shows a stored Subscription shows masks. Only a
sender asks for the values (`reveal`).

A client may send the mask back: the value then stays, found by the name of the header. It does not stay when
the endpoint moves to another origin: who may change a Subscription could otherwise have the secret sent to
an address of theirs.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from broker.errors import Conflict, Issue, Unprocessable
from broker.fhir.header_masks import MASK, masked_document
from broker.fhir.release import adapter
from broker.model.subscription import Subscription
from broker.security.key_ring import KeyMissing, KeyRing, Place, key_id_of

_HEADERS = "header values"
_SIGNING = "signing secrets"
_NO_RING = "This broker has no key ring to seal secrets with. Ask its operator to set BROKER_KEY_RING."


class SigningSecret(NamedTuple):
    """A secret that signs notifications until `ends_ms` (0: it has no end)."""

    secret: bytes
    ends_ms: int


class SubscriptionSecrets:
    """Seals and opens. Without a ring (`None`) a Subscription with headers is refused."""

    def __init__(self, ring: KeyRing | None) -> None:
        self._ring = ring

    @property
    def active_key_id(self) -> str:
        """The key that seals now. Raises `Conflict` where there is no ring."""
        return self._required_ring().active_id

    def conceal(self, draft: Subscription, stored: Subscription | None) -> Subscription:
        """The draft as it may be stored; `stored` is the one that it replaces, for the values of masks.

        Raises `Unprocessable` for a mask without a value, and where there is no ring.
        """
        if not draft.channel.headers:
            return draft
        if self._ring is None:
            element = adapter(draft.release).element("parameter[0]")
            raise Unprocessable(Issue("not-supported", f"{_NO_RING} Or leave the headers out.", element))
        return _masked(draft, self._seal_values(draft, self._values_of(draft, stored)))

    def _seal_values(self, subscription: Subscription, values: Sequence[str]) -> bytes:
        return self._required_ring().seal(json.dumps(values).encode(), _place(subscription, _HEADERS))

    def _values_of(self, draft: Subscription, stored: Subscription | None) -> list[str]:
        """The value of each header, masks replaced by the stored values: the first mask of a name by the
        first value, and so on.
        """
        kept: defaultdict[str, list[str]] = defaultdict(list)
        has_moved = stored is not None and _origin(draft) != _origin(stored)
        if stored is not None and has_masks(draft):
            for name, value in self.reveal(stored).channel.headers:
                kept[name.lower()].append(value)
        values, issues = [], []
        for position, (name, value) in enumerate(draft.channel.headers):
            values_of_name = kept[name.lower()]
            before = values_of_name.pop(0) if values_of_name else None
            if value != MASK:
                values.append(value)
            elif before is None:
                text = f"{MASK} stands for a value that is stored, and {name} has none. Send the value."
                issues.append(_issue(draft, position, text))
            elif has_moved:
                text = f"The endpoint has another origin now. Send the value of {name} again, not {MASK}."
                issues.append(_issue(draft, position, text))
            else:
                values.append(before)
        if issues:
            raise Unprocessable(*issues)
        return values

    def reveal(self, stored: Subscription) -> Subscription:
        """The Subscription with the values of its headers, for a sender. Raises `KeyMissing` or
        `SealBroken`.
        """
        if not stored.sealed_headers:
            return stored
        sealed = stored.sealed_headers
        values = json.loads(self._ring_for(sealed).open(sealed, _place(stored, _HEADERS)))
        names = [name for name, _ in stored.channel.headers]
        headers = tuple(zip(names, values, strict=True))
        return stored.changed(channel=replace(stored.channel, headers=headers))

    def reseal(self, stored: Subscription) -> Subscription:
        """The same Subscription with its header values under the active key, also if none has sealed them
        yet.
        """
        values = [value for _, value in self.reveal(stored).channel.headers]
        return _masked(stored, self._seal_values(stored, values)) if values else stored

    def reseal_signing(self, subscription: Subscription, sealed: bytes) -> bytes:
        """The same signing secrets under the active key."""
        return self.seal_signing(subscription, self.open_signing(subscription, sealed)) if sealed else b""

    def seal_signing(self, subscription: Subscription, signing: Sequence[SigningSecret]) -> bytes:
        """The signing secrets as they may be stored."""
        plain = json.dumps([[each.secret.hex(), each.ends_ms] for each in signing]).encode()
        return self._required_ring().seal(plain, _place(subscription, _SIGNING))

    def open_signing(self, subscription: Subscription, sealed: bytes) -> tuple[SigningSecret, ...]:
        """The signing secrets, the newest first; none for an empty value. Raises `KeyMissing` or
        `SealBroken`.
        """
        if not sealed:
            return ()
        plain = json.loads(self._ring_for(sealed).open(sealed, _place(subscription, _SIGNING)))
        return tuple(SigningSecret(bytes.fromhex(secret), ends_ms) for secret, ends_ms in plain)

    def _ring_for(self, sealed: bytes) -> KeyRing:
        if self._ring is None:
            raise KeyMissing(key_id_of(sealed))
        return self._ring

    def _required_ring(self) -> KeyRing:
        if self._ring is None:
            raise Conflict(Issue("not-supported", _NO_RING))
        return self._ring


def has_masks(draft: Subscription) -> bool:
    """Whether the value of a header is to stay what it is."""
    return any(value == MASK for _, value in draft.channel.headers)


def _masked(subscription: Subscription, sealed: bytes) -> Subscription:
    channel = subscription.channel
    return subscription.changed(
        document=masked_document(subscription.release, subscription.document),
        channel=replace(channel, headers=tuple((name, MASK) for name, _ in channel.headers)),
        sealed_headers=sealed,
    )


def _place(subscription: Subscription, purpose: str) -> Place:
    return Place(subscription.tenant, f"Subscription/{subscription.id}", purpose)


def _origin(subscription: Subscription) -> tuple[str, str]:
    parts = urlsplit(subscription.channel.endpoint or "")
    return parts.scheme, parts.netloc.lower()


def _issue(draft: Subscription, position: int, text: str) -> Issue:
    return Issue("value", text, adapter(draft.release).element(f"parameter[{position}]"))
