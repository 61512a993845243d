"""What `fhir-broker erase` does with the store: it removes what is held about a person, and records that.

It connects to the store beside the processes that use it, also to an embedded one.
"""

from broker.app.secrets import open_key_ring, resource_bodies
from broker.app.stores import open_store
from broker.errors import ConfigurationError
from broker.fhir.references import is_about
from broker.model.audit import AuditAction, AuditEntity, AuditEntry
from broker.model.change import Tenant
from broker.settings import Settings
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.file_rewrite import rewrite_file
from broker.store.personal_data import PersonalData, PersonalDataStore
from broker.store.protocol import Store

_PASSES = 5
"""A version that is written while the store is read is found by the next pass."""


async def find(settings: Settings, url: str, tenant: Tenant, patient: str) -> PersonalData:
    """What the store holds about `Patient/id`; changes nothing."""
    async with open_store(settings, url) as store:
        return await (await _personal_data(settings, store, tenant, patient)).find()


async def erase(settings: Settings, url: str, tenant: Tenant, patient: str) -> PersonalData:
    """Removes it; returns what the first pass found.

    It is in the audit trail before anything is removed. The append-only file of an embedded store is
    rewritten, so that it does not hold what was removed any more.

    Raises `ConfigurationError` while changes about the person wait to be matched, and if versions about the
    person are written again and again.
    """
    async with open_store(settings, url) as store:
        data = await _personal_data(settings, store, tenant, patient)
        first = found = await data.find()
        for _ in range(_PASSES):
            if found.waiting:
                raise ConfigurationError(
                    f"{found.waiting} changes about {patient} wait to be processed. "
                    "Run it again when the broker has processed them."
                )
            if found is first:
                await _record(settings, store, tenant, patient)
            await data.erase(found)
            found = await data.find()
            if not found.counts():
                break
        else:
            raise ConfigurationError(f"Changes about {patient} still come in. Stop their producers.")
    if settings.redis_url is None:
        await rewrite_file(url)
    return first


async def _personal_data(settings: Settings, store: Store, tenant: Tenant, patient: str) -> PersonalDataStore:
    bodies = resource_bodies(settings, store, await open_key_ring(settings, store))
    return PersonalDataStore(store, tenant, patient, is_about, bodies)


async def _record(settings: Settings, store: Store, tenant: Tenant, patient: str) -> None:
    if not settings.audit:
        return
    await AuditTrail(store).add_tenant(tenant)
    entity = AuditEntity("Patient", patient.removeprefix("Patient/"))
    await AuditJournal(store).record(tenant, AuditEntry(AuditAction.ERASE, entities=(entity,)))
