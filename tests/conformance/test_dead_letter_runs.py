"""A run redrives or discards all dead letters that a filter includes: page by page, by one process at a time,
in the audit trail, and to its end whoever works at it.
"""

from typing import Any, cast

import pytest

from broker.clock import SystemClock
from broker.errors import Conflict
from broker.model.audit import AuditAction, ChainedEntry
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import Principal
from broker.services import dead_letter_runs
from broker.services.dead_letter_runs import DeadLetterRunService
from broker.services.dead_letters import DeadLetterService
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letter_runs import DeadLetterRuns, RunAction, RunState
from broker.store.dead_letters import DeadLetterFilter, DeadLetters
from broker.store.open_work import WorkName
from broker.store.protocol import Store
from tests.conformance.test_dead_letter_pages import SUBSCRIPTION, fill

OPERATOR = Principal("operator-1", DEFAULT_TENANT, frozenset(), frozenset({"operator"}))
INBOX = DeadLetterFilter(DeadLetterKind.INBOX)


class Runs:
    """The service on a store with dead letters, and two processes that may work."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runs = DeadLetterRuns(store)
        letters = DeadLetterService(DeadLetters(store), DeadLetterActions(store), cast("Any", None))
        journal = AuditJournal(store)
        self.service = DeadLetterRunService(letters, self.runs, journal, SystemClock())

    async def start(self, action: RunAction, where: DeadLetterFilter = INBOX) -> WorkName:
        run = await self.service.start(OPERATOR, "10.0.0.1", action, where)
        return WorkName(DEFAULT_TENANT, run.id)

    async def left(self) -> int:
        counted = await DeadLetters(self.store).counts(DEFAULT_TENANT)
        return sum(counted.values())

    async def audited(self) -> list[ChainedEntry]:
        trail = AuditTrail(self.store)
        await trail.chain(DEFAULT_TENANT)
        return [entry async for entry in trail.forward(DEFAULT_TENANT, 1)]


@pytest.fixture
def runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(dead_letter_runs, "PAGE", 40)
    return Runs(store)


async def test_a_run_discards_what_its_filter_includes_and_says_how_far_it_is(runs: Runs) -> None:
    await fill(runs.store, inbox=100, events=3)
    name = await runs.start(RunAction.DISCARD)
    steps = []
    while await runs.service.work(name, "one"):
        run = await runs.service.current(OPERATOR)
        assert run is not None
        steps.append((run.state, run.examined, run.done))
    assert steps == [(RunState.OPEN, 40, 40), (RunState.OPEN, 80, 80)]
    run = await runs.service.current(OPERATOR)
    assert run is not None
    assert (run.state, run.examined, run.done, run.refused) == (RunState.COMPLETE, 100, 100, {})
    assert await runs.left() == 3
    assert await runs.runs.open() == []
    entries = [each.entry for each in await runs.audited()]
    assert {(each.action, each.agent, each.address) for each in entries} == {
        (AuditAction.DISCARD, "operator-1", "10.0.0.1")
    }
    assert len(entries) == 3


async def test_what_is_not_redriven_is_counted_by_its_reason(runs: Runs) -> None:
    await fill(runs.store, events=50)
    name = await runs.start(RunAction.REDRIVE, DeadLetterFilter(subscription=SUBSCRIPTION))
    while await runs.service.work(name, "one"):
        pass
    run = await runs.service.current(OPERATOR)
    assert run is not None
    assert (run.state, run.examined, run.done) == (RunState.COMPLETE, 50, 0)
    assert sum(run.refused.values()) == 50
    assert await runs.left() == 50


async def test_one_process_works_at_a_run_and_another_continues_it(runs: Runs) -> None:
    await fill(runs.store, inbox=100)
    name = await runs.start(RunAction.DISCARD)
    assert await runs.service.work(name, "one")
    assert not await runs.service.work(name, "two")
    assert await runs.left() == 60
    await runs.store.send([("DEL", f"broker:dead-letter-run-claim:{DEFAULT_TENANT}")])  # as it expires
    while await runs.service.work(name, "two"):
        pass
    assert await runs.left() == 0


async def test_an_operator_stops_a_run_and_starts_another(runs: Runs) -> None:
    await fill(runs.store, inbox=100)
    name = await runs.start(RunAction.DISCARD)
    with pytest.raises(Conflict):
        await runs.start(RunAction.REDRIVE)
    assert await runs.service.work(name, "one")
    await runs.service.stop(OPERATOR)
    stopped = await runs.service.current(OPERATOR)
    assert stopped is not None
    assert stopped.state is RunState.STOPPED
    assert not await runs.service.work(name, "one")
    assert await runs.left() == 60
    other = await runs.start(RunAction.DISCARD)
    while await runs.service.work(other, "one"):
        pass
    assert await runs.left() == 0


async def test_another_tenant_has_a_run_of_its_own(runs: Runs) -> None:
    await fill(runs.store, inbox=1)
    await runs.start(RunAction.DISCARD)
    stranger = Principal("x", cast("Any", "other"), frozenset(), frozenset())
    assert await runs.service.current(stranger) is None
    await runs.service.stop(stranger)
    run = await runs.service.current(OPERATOR)
    assert run is not None
    assert run.state is RunState.OPEN
