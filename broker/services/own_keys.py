"""The broker's own keys, with which it is a client of others, as its administrators see them."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.model.principal import Principal
from broker.security.broker_keys import PREVIOUS_MS, BrokerKeys, KeyUse


class OwnKey(NamedTuple):
    """A key. `use` is `next`, `current` or `previous`; `until_ms` is when it is published no more, None while
    that is open.
    """

    kid: str
    algorithm: str
    use: str
    since_ms: int
    until_ms: int | None


class OwnKeyService:
    """Of the principal's tenant."""

    def __init__(self, keys: BrokerKeys) -> None:
        self._keys = keys

    def all(self, principal: Principal) -> Sequence[OwnKey]:
        """None where there is no directory of keys. Raises `ConfigurationError` for a damaged one."""
        return [
            OwnKey(
                key.jwk["kid"],
                key.jwk["alg"],
                key.use,
                key.since_ms,
                key.since_ms + PREVIOUS_MS if key.use is KeyUse.PREVIOUS else None,
            )
            for key in self._keys.of(principal.tenant)
        ]
