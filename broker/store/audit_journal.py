"""Records acts in the audit trail: the entries of concurrent callers share a write and a sync to disk.

`record` returns once the entry is durable, so a caller that answers a client afterwards never answers for an
act that is not in the trail. Changes and delivery attempts do not come here: the scripts that accept a change
and commit an attempt write its entry themselves. `AuditChainer` moves the entries into the chain.
"""

import asyncio
import secrets
from collections.abc import Sequence

from broker.model.audit import AuditEntry
from broker.model.change import Tenant
from broker.store import audit_keys
from broker.store.audit_blocks import encode_entries
from broker.store.protocol import ScriptCall, Store, WriteConcern

_REPEATED_MS = 60_000
_MAX_ENTRIES = 500


class AuditJournal:
    """One a process. With `is_on` False nothing is recorded.

    Who has a script write an entry calls `note`, so that the chainer looks into the tenant's journals.
    """

    def __init__(self, store: Store, *, is_on: bool = True) -> None:
        self.is_on = is_on
        self._store = store
        self._tenants: set[Tenant] = set()
        self._waiting: dict[Tenant, list[tuple[AuditEntry, asyncio.Future[None]]]] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, tenant: Tenant) -> None:
        """An entry of the tenant is about to be written."""
        self._tenants.add(tenant)

    def take_tenants(self) -> set[Tenant]:
        """The tenants with entries since the last call."""
        taken, self._tenants = self._tenants, set()
        return taken

    async def record(self, tenant: Tenant, entry: AuditEntry) -> None:
        """Returns once the entry is durable. Raises `StoreUnavailable`: it may not be there."""
        if not self.is_on:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, []).append((entry, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="audit journal")
        await done
        self.note(tenant)

    async def _write(self) -> None:
        """Until nothing waits."""
        try:
            while self._waiting:
                await asyncio.sleep(0)  # the acts that ended in this turn of the loop leave together
                waiting, self._waiting = self._waiting, {}
                await self._write_all(waiting)
        finally:
            self._writing = None
            for _, done in (each for entries in self._waiting.values() for each in entries):
                done.cancel()  # only a cancelled task leaves any
            self._waiting = {}

    async def _write_all(
        self, waiting: dict[Tenant, list[tuple[AuditEntry, "asyncio.Future[None]"]]]
    ) -> None:
        calls = [
            _append_call(tenant, [entry for entry, _ in entries[start : start + _MAX_ENTRIES]])
            for tenant, entries in waiting.items()
            for start in range(0, len(entries), _MAX_ENTRIES)
        ]
        futures = [done for entries in waiting.values() for _, done in entries]
        try:
            await self._store.run_many(calls, WriteConcern.DURABLE)
        except Exception as error:  # noqa: BLE001 the callers receive it, whatever it is
            for done in futures:
                if not done.done():
                    done.set_exception(error)
        except asyncio.CancelledError:
            for done in futures:
                done.cancel()
            raise
        else:
            for done in futures:
                if not done.done():
                    done.set_result(None)


def _append_call(tenant: Tenant, entries: Sequence[AuditEntry]) -> ScriptCall:
    script_keys = [audit_keys.audit_journal(tenant), audit_keys.audit_marker(tenant, secrets.token_hex(8))]
    return ScriptCall("append_audit", script_keys, [encode_entries(entries), _REPEATED_MS])
