"""Redrives or discards all dead letters that a filter includes, in the background.

An operator starts a run; `workers/dead_letter_runner.py` works at it, a page at a time, in whatever process
claims it. After a crash it continues where it stopped: a page that is processed twice does nothing more. Each
page is in the audit trail in the name of the operator's client, before the next one begins.
"""

import uuid

from broker.clock import Clock
from broker.errors import Conflict, Issue, Malformed
from broker.model.audit import AuditAction, AuditEntity, AuditEntry
from broker.model.change import Tenant
from broker.model.principal import Principal, PrincipalRole
from broker.services.dead_letters import DeadLetterService, Selection, entities_of
from broker.store.audit_journal import AuditJournal
from broker.store.dead_letter_runs import DeadLetterRuns, Run, RunAction, RunState
from broker.store.dead_letters import DeadLetterFilter
from broker.store.open_work import WorkName

PAGE = 200
_MAX_REASONS = 20
_OTHER_REASONS = "Other reasons."
_ACTIONS = {RunAction.REDRIVE: AuditAction.REDRIVE, RunAction.DISCARD: AuditAction.DISCARD}


class DeadLetterRunService:
    """Runs of the principal's tenant. Each method raises `StoreUnavailable`."""

    def __init__(
        self, dead_letters: DeadLetterService, runs: DeadLetterRuns, journal: AuditJournal, clock: Clock
    ) -> None:
        self._dead_letters = dead_letters
        self._runs = runs
        self._journal = journal
        self._clock = clock

    async def current(self, principal: Principal) -> Run | None:
        """The run that is under way, or the last one that ended within a day."""
        return await self._runs.newest(principal.tenant)

    async def start(self, principal: Principal, address: str, action: str, where: DeadLetterFilter) -> Run:
        """Raises `Conflict` while another run is under way, and `Malformed` for what is no `RunAction`."""
        if action not in set(RunAction):
            raise Malformed(Issue("value", f"action takes {' or '.join(RunAction)}.", "action"))
        current = await self.current(principal)
        if current is not None and current.state is RunState.OPEN:
            text = "Another run is under way. Wait for its end, or stop it."
            raise Conflict(Issue("conflict", text))
        now_ms = self._clock.now_ms()
        run = Run(uuid.uuid4().hex, RunAction(action), where, principal.client_id, address, now_ms, now_ms)
        await self._runs.add(principal.tenant, run)
        return run

    async def stop(self, principal: Principal) -> None:
        """The page that is being processed is the last. Does nothing without a run that is under way."""
        run = await self.current(principal)
        if run is not None:
            await self._runs.close(WorkName(principal.tenant, run.id))

    async def work(self, name: WorkName, owner: str) -> bool:
        """Processes the next page of a run, if no other process works at one of the tenant. Returns whether
        there is more to do now.
        """
        if not await self._runs.claim(name.tenant, owner):
            return False
        run = await self._runs.get(name)
        if run is None or run.state is not RunState.OPEN:
            await self._runs.close(name)
            return False
        run = await self._process(name.tenant, run)
        await self._runs.change(name.tenant, run)
        return run.state is RunState.OPEN

    async def _process(self, tenant: Tenant, run: Run) -> Run:
        roles = frozenset({PrincipalRole.OPERATOR})
        principal = Principal(run.client, tenant, frozenset(), roles)
        selection = Selection(where=run.where, after=run.next, count=PAGE)
        refused = dict(run.refused)
        if run.action is RunAction.REDRIVE:
            report = await self._dead_letters.redrive(principal, selection)
            done, following, selected = report.redriven, report.next, report.selected
            for refusal in report.refused:
                reason = refusal.reason
                counted = reason if reason in refused or len(refused) < _MAX_REASONS else _OTHER_REASONS
                refused[counted] = refused.get(counted, 0) + 1
        else:
            discarded = await self._dead_letters.discard(principal, selection)
            done, following, selected = discarded.discarded, discarded.next, discarded.selected
        if selected:
            await self._record(tenant, run, entities_of(selected))
        return run.advanced(
            self._clock.now_ms(), following, examined=len(selected), done=done, refused=refused
        )

    async def _record(self, tenant: Tenant, run: Run, entities: tuple[AuditEntity, ...]) -> None:
        entry = AuditEntry(
            _ACTIONS[run.action],
            agent=run.client,
            address=run.address,
            detail=f"dead letters, run {run.id[:8]}",
            entities=entities,
        )
        await self._journal.record(tenant, entry)
