"""Logs people in to the console and out: by a one-time link of the local administrator, or with what an
external issuer says about them. Every login and logout is in the audit trail before it holds.
"""

from broker.model.audit import AuditAction, AuditEntry, AuditOutcome
from broker.model.change import Tenant
from broker.model.principal import LOCAL_ADMINISTRATOR, Principal, PrincipalRole
from broker.model.scopes import parse_scopes
from broker.security.issuers import IssuerFile
from broker.services.login_failures import LoginFailures
from broker.store.audit_journal import AuditJournal
from broker.store.console_sessions import LoginLinks, StoredSessions

LINK_LIFETIME_MS = 10 * 60 * 1000


class ConsoleLogins:
    """One a process. Each method raises `StoreUnavailable`. `address` is where the browser is."""

    def __init__(
        self,
        sessions: StoredSessions,
        links: LoginLinks,
        issuers: IssuerFile,
        journal: AuditJournal,
        failures: LoginFailures,
        lifetime_ms: int,
    ) -> None:
        self._sessions = sessions
        self._links = links
        self._issuers = issuers
        self._journal = journal
        self._failures = failures
        self.lifetime_ms = lifetime_ms

    async def find(self, secret: str) -> Principal | None:
        """Who is logged in by the session; None for one that has ended, and for a person whom their issuer,
        or whose issuer, the configuration does not accept any more.
        """
        principal = await self._sessions.find(secret)
        if principal is None or principal.client_id == LOCAL_ADMINISTRATOR:
            return principal
        client = self._issuers.client(principal.client_id)
        if client is None or client.is_disabled or client.tenant != principal.tenant:
            return None
        return principal

    async def use_link(self, link: str, address: str) -> str | None:
        """The session of a local administrator; None for a link that is unknown, used or expired."""
        tenant = await self._links.use(link)
        if tenant is None:
            await self._failures.record(address, "console link not valid")
            return None
        return await self.log_in(administrator(tenant), address, "console link")

    async def log_in(self, principal: Principal, address: str, way: str) -> str:
        """A session of who was authenticated; `way` says how."""
        await self._record(principal, address, f"log in by {way}")
        return await self._sessions.open(principal, self.lifetime_ms)

    async def refuse(self, address: str, reason: str) -> None:
        """Records a login that failed; `reason` is a code of ours."""
        await self._failures.record(address, reason)

    async def log_out(self, secret: str, principal: Principal, address: str) -> None:
        """Ends a session everywhere."""
        await self._sessions.close(secret)
        await self._record(principal, address, "log out")

    async def _record(self, principal: Principal, address: str, detail: str) -> None:
        entry = AuditEntry(
            AuditAction.AUTHENTICATE, AuditOutcome.SUCCESS, principal.client_id, address, detail
        )
        await self._journal.record(principal.tenant, entry)


def administrator(tenant: Tenant) -> Principal:
    """The local administrator: may do everything in the tenant."""
    return Principal(LOCAL_ADMINISTRATOR, tenant, parse_scopes("system/*.cruds"), frozenset(PrincipalRole))
