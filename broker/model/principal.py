"""The principal: who sends a request, and what the authorization server granted to that client.

Authentication makes one `Principal` per request and every handler and service receives it. The tenant of all
data that a request may touch is the tenant of its principal. In open mode (`BROKER_AUTH=off`) every request
has the built-in `OPEN_PRINCIPAL`.
"""

from dataclasses import dataclass
from enum import StrEnum

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.scopes import Scopes, parse_scopes

ClientKey = tuple[Tenant, str]
"""A client among those of all tenants."""


class PrincipalRole(StrEnum):
    """Rights that no scope for a resource type expresses. Each holds within the tenant of the client."""

    ADMIN = "admin"  # changes topics, and sees and changes the subscriptions of all clients
    AUDITOR = "auditor"  # searches, exports and verifies the audit trail
    OPERATOR = "operator"  # reads metrics, redrives and discards dead letters


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated client. `roles` are names of `PrincipalRole`."""

    client_id: str
    tenant: Tenant
    scopes: Scopes
    roles: frozenset[str]

    @property
    def client(self) -> ClientKey:
        """What the limits per client count by."""
        return self.tenant, self.client_id

    @property
    def is_anonymous(self) -> bool:
        """Whether no client was authenticated: such a principal may use what is public."""
        return not self.client_id

    @property
    def is_admin(self) -> bool:
        """Whether it sees and changes what other clients of its tenant own."""
        return PrincipalRole.ADMIN in self.roles

    def may_see_those_of(self, owner: str) -> bool:
        """Whether the subscriptions of that client of its tenant are visible to it, and its to change."""
        return self.is_admin or owner == self.client_id


OPEN_PRINCIPAL = Principal(
    client_id="open",
    tenant=DEFAULT_TENANT,
    scopes=parse_scopes("system/*.cruds"),
    roles=frozenset(PrincipalRole),
)
"""The principal of every request in open mode: it may do everything in the default tenant."""

LOCAL_ADMINISTRATOR = "local-administrator"
"""The client id of who logs in to the console by a link. No client can have this id."""

ANONYMOUS = Principal(client_id="", tenant=DEFAULT_TENANT, scopes=frozenset(), roles=frozenset())
"""The principal of a request without credentials, where access control is on."""
