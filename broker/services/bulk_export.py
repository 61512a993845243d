"""Bulk exports of the resources of a tenant (FHIR Bulk Data Access, at the level of the system).

An export is a snapshot (decision 290): what was current at `moment_ms`, which a client gives as `_since` of
its next export. Starting it plans its files; a worker of any process then counts what is in them and finds
what cannot be exported (`workers/export_checker.py`), and the export is complete. No file is stored: it is
rendered when it is read (decision 300).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.clock import Clock
from broker.errors import Forbidden, Issue, Malformed, NotFound, TooMany
from broker.matching.search_index import SearchIndex
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.scopes import Scopes, alternatives, parse_scopes
from broker.services.export_files import ExportFiles, RenderedFile, queries
from broker.services.export_reader import plan_files
from broker.services.indexed_types import IndexedTypes
from broker.services.search_plan import IndexedType
from broker.store.export_jobs import ExportFile, ExportJobs, ExportRecord, FileResult
from broker.store.open_work import WorkName
from broker.store.search_sets import SearchSets
from broker.tasks import Slices

FILE_SIZE = 2_000
"""Resources in one file: it is rendered in memory."""
MAX_OPEN = 20
"""Exports of all clients that may be worked at."""
MAX_PROBLEMS = 100
"""Problems of one file that are reported."""
_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a client asks for; no `types` are all, `since_ms` 0 is everything."""

    release: Release
    url: str
    types: Sequence[str] = ()
    since_ms: int = 0
    filters: Sequence[tuple[str, str]] = ()
    elements: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """A job, and the results of the files that are checked so far."""

    id: str
    record: ExportRecord
    results: Mapping[int, FileResult]

    @property
    def is_complete(self) -> bool:
        return len(self.results) == len(self.record.files)


class BulkExportService:
    """Exports of the principal's tenant; each belongs to the client that started it."""

    def __init__(
        self, types: IndexedTypes, jobs: ExportJobs, index: SearchIndex, clock: Clock, *, keep_ms: int
    ) -> None:
        """`keep_ms`: how long a job is known."""
        self._types = types
        self._jobs = jobs
        self._index = index
        self._clock = clock
        self._keep_ms = keep_ms

    async def start(self, principal: Principal, asked: ExportRequest) -> str:
        """Returns the id of the job. Raises `Malformed` naming the parameter, `Forbidden` for a type that the
        client may not search, `TooMany`, and what `IndexedTypes` raises.
        """
        if len(await self._jobs.open()) >= MAX_OPEN:
            text = f"{MAX_OPEN} exports are under way. Start this one when another is complete."
            raise TooMany(Issue("throttled", text), limit="exports", retry_after_s=_RETRY_AFTER_S)
        self._check_types(principal, asked)
        self._check_filters(asked)
        moment_ms = await self._types.snapshot()
        # after the moment: the first resource of a type may be written now
        sets = await self._sets(principal, asked)
        files: list[ExportFile] = []
        for name, each in sets.items():
            files += await plan_files(each, name, asked.since_ms, moment_ms, size=FILE_SIZE)
        record = ExportRecord(
            tenant=principal.tenant,
            client=principal.client_id,
            scopes=tuple(sorted(map(str, principal.scopes))),
            release=asked.release,
            request=asked.url,
            moment_ms=moment_ms,
            since_ms=asked.since_ms,
            expires_ms=self._clock.now_ms() + self._keep_ms,
            filters=tuple(asked.filters),
            elements=tuple(asked.elements),
            files=tuple(files),
        )
        return await self._jobs.add(record)

    def _check_types(self, principal: Principal, asked: ExportRequest) -> None:
        for name in asked.types:
            if not alternatives(principal.scopes, name, "s"):
                text = f"The client {principal.client_id!r} may not search {name}. Leave it out of _type."
                raise Forbidden(Issue("forbidden", text, "_type"), scope=f"system/{name}.s")
            if not self._types.is_indexed(name):
                text = f"This broker keeps no index of {name}. Leave it out of _type."
                raise Malformed(Issue("not-supported", text, "_type"))

    async def _sets(self, principal: Principal, asked: ExportRequest) -> dict[str, SearchSets]:
        if asked.types:
            return {name: await self._types.sets_of(principal.tenant, name) for name in asked.types}
        stored = await self._types.all_of(principal.tenant)
        return {name: each for name, each in stored.items() if alternatives(principal.scopes, name, "s")}

    def _check_filters(self, asked: ExportRequest) -> None:
        for name, _ in asked.filters:
            if asked.types and name not in asked.types:
                text = f"_typeFilter names {name}, which _type does not. Send it in both."
                raise Malformed(Issue("value", text, "_typeFilter"))
            definitions = self._index.definitions(name) or ()
            queries(asked.filters, IndexedType(name, asked.release, definitions, self._index.context))

    async def find(self, principal: Principal, job_id: str) -> Export:
        """Raises `NotFound` for a job of another client, too."""
        record = await self._jobs.record(principal.tenant, job_id)
        if record is None or record.client != principal.client_id:
            text = "There is no such export: it ended, or was cancelled. Start a new one with $export."
            raise NotFound(Issue("not-found", text))
        return Export(job_id, record, await self._jobs.results(principal.tenant, job_id))

    async def cancel(self, principal: Principal, job_id: str) -> None:
        """Forgets the job. Raises `NotFound`."""
        await self.find(principal, job_id)
        await self._jobs.remove(principal.tenant, job_id)

    async def read(self, principal: Principal, export: Export, number: int) -> RenderedFile:
        """One file. Raises `NotFound` for a number that the export does not have."""
        files = export.record.files
        if number >= len(files):
            text = "The export has no such file. Read its status for those that it has."
            raise NotFound(Issue("not-found", text))
        scopes = [_scopes(export.record), principal.scopes]
        return await self._render(export.record, files[number], scopes, Slices())

    async def check(self, job: WorkName, owner: str, slices: Slices) -> bool:
        """Checks the files of a job that are not checked yet; returns whether it is done, or another process
        works at it. Its claim is renewed with each file.
        """
        record = await self._jobs.record(job.tenant, job.id)
        if record is not None:
            results = await self._jobs.results(job.tenant, job.id)
            for number, file in enumerate(record.files):
                if number in results:
                    continue
                if not await self._jobs.claim(job, owner):
                    return False
                rendered = await self._render(record, file, [_scopes(record)], slices)
                result = FileResult(len(rendered.lines), tuple(rendered.problems[:MAX_PROBLEMS]))
                await self._jobs.set_result(record, job.id, number, result)
        await self._jobs.close(job)
        return True

    async def _render(
        self, record: ExportRecord, file: ExportFile, scopes: Sequence[Scopes], slices: Slices
    ) -> RenderedFile:
        sets = await self._types.sets_of(record.tenant, file.type)
        return await ExportFiles(record, self._index).render(file, sets, scopes, slices)


def _scopes(record: ExportRecord) -> Scopes:
    return parse_scopes(" ".join(record.scopes))
