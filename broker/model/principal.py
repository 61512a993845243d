"""The principal: who sends a request, and what the authorization server granted to that client.

Authentication makes one `Principal` per request and every handler and service receives it. The tenant of all
data that a request may touch is the tenant of its principal. In open mode (`BROKER_AUTH=off`) every request
has the built-in `OPEN_PRINCIPAL`.
"""

from dataclasses import dataclass
from enum import StrEnum

from broker.model.change import DEFAULT_TENANT, Tenant


class PrincipalRole(StrEnum):
    """Rights that no scope for a resource type expresses."""

    ADMIN = "admin"  # changes the topics of the broker
    OPERATOR = "operator"  # reads metrics, redrives and discards dead letters


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated client.

    `scopes` are SMART scopes of version 2, such as `system/Observation.cu` or `system/*.rs`. `roles` are
    names of `PrincipalRole`.
    """

    client_id: str
    tenant: Tenant
    scopes: frozenset[str]
    roles: frozenset[str]


OPEN_PRINCIPAL = Principal(
    client_id="open",
    tenant=DEFAULT_TENANT,
    scopes=frozenset({"system/*.cruds"}),
    roles=frozenset(PrincipalRole),
)
"""The principal of every request in open mode: it may do everything in the default tenant."""
