"""A history of all types and an export have what was written before their moment, also the first resource
of a type.
"""

from typing import Any

from broker.clock import SystemClock, to_instant
from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.matching.restrictions import Restrictions
from broker.matching.search_index import SearchIndex
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import OPEN_PRINCIPAL
from broker.model.release import Release
from broker.services.bulk_export import BulkExportService, ExportRequest
from broker.services.history_parameters import parse_history_parameters
from broker.services.indexed_types import IndexedTypes
from broker.services.type_history import TypeHistoryService
from broker.store.changes import Changes
from broker.store.export_jobs import ExportJobs
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from broker.store.search_sets import SearchSets


class WrittenMeanwhile(IndexedTypes):
    """The first resource of a type is written just after the types were read, or while they were."""

    def __init__(self, store: Store, index: SearchIndex) -> None:
        complete: Any = Complete()
        super().__init__(store, Resources(store), index, complete)
        self.written_ms = 0
        self._changes = Changes(store, keep_ms=3_600_000)

    async def all_of(self, tenant: Tenant) -> dict[str, SearchSets]:
        types = await super().all_of(tenant)
        if not self.written_ms:
            tail = b'},"status":"final"}'
            put = Proposal(tenant, "put", "Observation", "first", Release.R4, tail, sets=("m",))
            [accepted] = await self._changes.append([put])
            self.written_ms = accepted.at_ms
        return types


class Complete:
    async def is_complete(self, _resource_type: str) -> bool:
        return True


def index() -> SearchIndex:
    return SearchIndex({"*": ()}, SearchContext(SearchParameters()))


async def test_a_poll_misses_no_first_resource_of_a_type(store: Store) -> None:
    types = WrittenMeanwhile(store, index())
    service = TypeHistoryService(types, Restrictions(index().context))
    page = await service.of_all(OPEN_PRINCIPAL, parse_history_parameters((), ()))
    seen = [version.key.id for version in page.versions]
    since = to_instant(page.moment_ms)
    page = await service.of_all(OPEN_PRINCIPAL, parse_history_parameters([("_since", since)], ()))
    assert [*seen, *(version.key.id for version in page.versions)] == ["first"]


async def test_an_export_misses_no_first_resource_of_a_type(store: Store) -> None:
    types, jobs = WrittenMeanwhile(store, index()), ExportJobs(store)
    service = BulkExportService(types, jobs, index(), SystemClock(), keep_ms=60_000)
    job = await service.start(OPEN_PRINCIPAL, ExportRequest(Release.R4, "http://broker/r4/$export"))
    record = await jobs.record(DEFAULT_TENANT, job)
    assert record is not None
    has_it = any(file.type == "Observation" for file in record.files)
    assert has_it or types.written_ms > record.moment_ms, "the next export has it"
