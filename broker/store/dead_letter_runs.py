"""Runs: an operator's order to redrive or discard all dead letters that a filter includes, shared by all
processes. A tenant has one at a time; how far it came is kept until a day after its end.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from broker.model.change import Tenant
from broker.store import dead_letter_run_keys as keys
from broker.store.dead_letters import DeadLetterFilter
from broker.store.open_work import OpenWork, WorkName, claim_work
from broker.store.protocol import Store

_KEEP_MS = 86_400_000


class RunAction(StrEnum):
    """What is done with each dead letter."""

    REDRIVE = "redrive"
    DISCARD = "discard"


class RunState(StrEnum):
    """Whether a run continues."""

    OPEN = "open"
    COMPLETE = "complete"  # it came to the last dead letter
    STOPPED = "stopped"  # an operator stopped it


class Run(msgspec.Struct, frozen=True, gc=False):
    """`next` is where it continues: the id behind which the next dead letters are. `done` counts those that
    were redriven or discarded, `refused` the others by the reason. `client` and `address` ordered it.
    """

    id: str
    action: RunAction
    where: DeadLetterFilter
    client: str
    address: str
    started_ms: int
    changed_ms: int
    next: str = ""
    examined: int = 0
    done: int = 0
    refused: Mapping[str, int] = msgspec.field(default_factory=dict)
    state: RunState = RunState.OPEN

    def advanced(
        self, at_ms: int, following: str, *, examined: int, done: int, refused: Mapping[str, int]
    ) -> "Run":
        """The run behind one more page, of which so many were `examined` and `done`; `refused` counts those
        of all pages. Without `following` it is complete.
        """
        return msgspec.structs.replace(
            self,
            changed_ms=at_ms,
            next=following,
            examined=self.examined + examined,
            done=self.done + done,
            refused=refused,
            state=RunState.OPEN if following else RunState.COMPLETE,
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Run).decode


class DeadLetterRuns:
    """The runs of one store. Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = OpenWork(store, keys.OPEN_RUNS)

    async def add(self, tenant: Tenant, run: Run) -> None:
        """The tenant's newest run, which workers find from now on."""
        await self._write(tenant, run)
        newest = keys.newest_dead_letter_run(tenant)
        await self._store.send([("SET", newest, run.id, "PX", _KEEP_MS)])
        await self._open.add(WorkName(tenant, run.id))

    async def newest(self, tenant: Tenant) -> Run | None:
        """The tenant's newest run; None for none within a day."""
        (run_id,) = await self._store.send([("GET", keys.newest_dead_letter_run(tenant))])
        return None if run_id is None else await self.get(WorkName(tenant, run_id.decode()))

    async def get(self, name: WorkName) -> Run | None:
        """One run. It is stopped if nobody is to work at it and it is not complete."""
        (stored,) = await self._store.send([("GET", keys.dead_letter_run(*name))])
        if stored is None:
            return None
        run = _decode(stored)
        if run.state is RunState.OPEN and not await self._open.has(name):
            return msgspec.structs.replace(run, state=RunState.STOPPED)
        return run

    async def change(self, tenant: Tenant, run: Run) -> None:
        """How far it came; nobody works at one that is complete any more."""
        await self._write(tenant, run)
        if run.state is not RunState.OPEN:
            await self.close(WorkName(tenant, run.id))

    async def _write(self, tenant: Tenant, run: Run) -> None:
        key = keys.dead_letter_run(tenant, run.id)
        await self._store.send([("SET", key, _encode(run), "PX", _KEEP_MS)])

    async def open(self) -> list[WorkName]:
        """The runs that need work."""
        return await self._open.list()

    async def close(self, name: WorkName) -> None:
        """Nobody works at the run any more."""
        await self._open.remove(name)

    async def claim(self, tenant: Tenant, owner: str) -> bool:
        """Whether the process works at the tenant's run now, as `claim_work` says."""
        return await claim_work(self._store, keys.dead_letter_run_claim(tenant), owner)
