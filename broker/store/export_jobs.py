"""Jobs of bulk exports, shared by all processes. A job is a record and the results of its files, and ends by
itself; the resources stay where they are until a file is read.
"""

import secrets
from collections.abc import Mapping

import msgspec

from broker.model.change import Tenant
from broker.model.release import Release
from broker.store import search_keys
from broker.store.open_work import OpenWork, WorkName, claim_work
from broker.store.protocol import Store
from broker.store.replies import mapping_of
from broker.store.set_ranges import RangeOfSet


class ExportFile(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a file has: resources of a type, or deletions of such."""

    type: str
    has_deletions: bool
    ranges: tuple[RangeOfSet, ...]


class ExportRecord(msgspec.Struct, frozen=True, gc=False):
    """What an export was asked for, and the plan of its files. `scopes` are those of the client then.
    `filters` are pairs of a type and a query; a resource of the type has to meet one of them.
    """

    tenant: Tenant
    client: str
    scopes: tuple[str, ...]
    release: Release
    request: str
    moment_ms: int
    since_ms: int
    expires_ms: int
    filters: tuple[tuple[str, str], ...]
    elements: tuple[str, ...]
    files: tuple[ExportFile, ...]


class ExportProblem(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A resource that could not be exported, as `Type/id`, and why."""

    reference: str
    text: str


class FileResult(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How many lines a file has, and the first of its problems."""

    count: int
    problems: tuple[ExportProblem, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(ExportRecord).decode
_decode_result = msgspec.msgpack.Decoder(FileResult).decode
_RECORD = "job"


class ExportJobs:
    """The jobs of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = OpenWork(store, search_keys.OPEN_EXPORTS)

    async def add(self, record: ExportRecord) -> str:
        """Returns the id of the job, which nobody can guess."""
        job_id = secrets.token_hex(16)
        key = search_keys.export_job(record.tenant, job_id)
        await self._store.send(
            [("HSET", key, _RECORD, _encode(record)), ("PEXPIREAT", key, record.expires_ms)]
        )
        await self._open.add(WorkName(record.tenant, job_id))
        return job_id

    async def record(self, tenant: Tenant, job_id: str) -> ExportRecord | None:
        """None for a job that ended, was cancelled, or never was."""
        (stored,) = await self._store.send([("HGET", search_keys.export_job(tenant, job_id), _RECORD)])
        return None if stored is None else _decode_record(stored)

    async def results(self, tenant: Tenant, job_id: str) -> Mapping[int, FileResult]:
        """Those of the files that are checked, by number."""
        (reply,) = await self._store.send([("HGETALL", search_keys.export_job(tenant, job_id))])
        fields = mapping_of(reply)
        return {int(name): _decode_result(stored) for name, stored in fields.items() if name.isdigit()}

    async def set_result(self, record: ExportRecord, job_id: str, number: int, result: FileResult) -> None:
        """That of one file. Of a job that was cancelled meanwhile, it ends with the others."""
        key = search_keys.export_job(record.tenant, job_id)
        await self._store.send(
            [("HSET", key, str(number), _encode(result)), ("PEXPIREAT", key, record.expires_ms)]
        )

    async def remove(self, tenant: Tenant, job_id: str) -> None:
        """Cancels the job."""
        await self._store.send([("DEL", search_keys.export_job(tenant, job_id))])
        await self.close(WorkName(tenant, job_id))

    async def open(self) -> list[WorkName]:
        """The jobs whose files are not all checked."""
        return await self._open.list()

    async def close(self, job: WorkName) -> None:
        """No more work is needed."""
        await self._open.remove(job)

    async def claim(self, job: WorkName, owner: str) -> bool:
        """Whether the process works at the job now, as `claim_work` says."""
        return await claim_work(self._store, search_keys.export_claim(job.tenant, job.id), owner)
