"""What an access token stands for."""

from dataclasses import dataclass

from broker.model.change import Tenant

LIFETIME_MS = 300_000
"""The longest that an access token is valid (S-065)."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it was issued: to whom, for which scopes (a list as the client wrote it), and until when."""

    client_id: str
    tenant: Tenant
    scope: str
    expires_ms: int
