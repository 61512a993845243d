"""Builds the search of stored resources: its indexes, the service, and the loop that completes them."""

from dataclasses import dataclass

from broker.app.parts import Parts, milliseconds
from broker.errors import ConfigurationError
from broker.matching.search_index import SearchIndex
from broker.matching.values import BadFilter
from broker.services.bulk_export import BulkExportService
from broker.services.indexed_types import IndexedTypes
from broker.services.resource_search import ResourceSearchService
from broker.store.export_jobs import ExportJobs
from broker.store.search_builds import SearchBuilds
from broker.workers.export_checker import ExportChecker
from broker.workers.search_builder import SearchBuilder


@dataclass(frozen=True, slots=True)
class SearchParts:
    """What intake, the service and the builder of one process share."""

    index: SearchIndex
    builds: SearchBuilds


async def open_search(parts: Parts) -> SearchParts:
    """Before the first write of the process. Raises `ConfigurationError` for an index that cannot be."""
    indexes = dict(parts.settings.search_indexes)
    try:
        index = SearchIndex(indexes, parts.search_context)
    except BadFilter as error:
        raise ConfigurationError(f"BROKER_SEARCH_INDEXES cannot be used: {error}.") from None
    wanted = {name: ",".join(definitions) or "-" for name, definitions in indexes.items()}
    builds = SearchBuilds(parts.store, parts.bodies, wanted)
    await builds.prepare()
    return SearchParts(index, builds)


def build_resource_search(parts: Parts, search: SearchParts) -> ResourceSearchService:
    return ResourceSearchService(
        parts.store,
        parts.resources,
        search.index,
        search.builds,
        parts.clock,
        keep_ms=milliseconds(parts.settings.retention),
    )


def build_indexed_types(parts: Parts, search: SearchParts) -> IndexedTypes:
    return IndexedTypes(parts.store, parts.resources, search.index, search.builds)


def build_exports(parts: Parts, search: SearchParts) -> BulkExportService:
    return BulkExportService(
        build_indexed_types(parts, search),
        ExportJobs(parts.store),
        search.index,
        parts.clock,
        keep_ms=milliseconds(min(parts.settings.export_keep, parts.settings.retention)),
    )


def build_export_checker(parts: Parts, search: SearchParts) -> ExportChecker:
    return ExportChecker(build_exports(parts, search), ExportJobs(parts.store), parts.stop)


def build_search_builder(parts: Parts, search: SearchParts) -> SearchBuilder:
    return SearchBuilder(search.builds, search.index, parts.stop)
