"""What `fhir-broker console-login` does with the store: it makes a login link, and records that.

It connects to the store beside the processes that use it, also to an embedded one.
"""

from broker.app.stores import open_store
from broker.model.audit import AuditAction, AuditEntry
from broker.model.change import Tenant
from broker.services.console_logins import LINK_LIFETIME_MS
from broker.settings import Settings
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.console_sessions import LoginLinks
from broker.store.protocol import Store


async def make_link(settings: Settings, url: str, tenant: Tenant) -> str:
    """The URL that logs in a local administrator of the tenant once."""
    async with open_store(settings, url) as store:
        await _record(settings, store, tenant)
        token = await LoginLinks(store).make(tenant, LINK_LIFETIME_MS)
    return f"{settings.base_url}/console/login/link?token={token}"


async def _record(settings: Settings, store: Store, tenant: Tenant) -> None:
    if not settings.audit:
        return
    await AuditTrail(store).add_tenant(tenant)
    entry = AuditEntry(AuditAction.ADMINISTER, detail="console link made")
    await AuditJournal(store).record(tenant, entry)
