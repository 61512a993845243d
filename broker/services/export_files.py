"""Renders the files of bulk exports as NDJSON: the resources that the client may read, in the release of the
base, and what could not be exported.

A file is rendered when it is read, as of the moment of the export, so reading it again gives the same lines,
except for what retention or an erasure removed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from broker.fhir.bundles import deletion_bundle
from broker.fhir.conversion import convert
from broker.fhir.summaries import SummaryView, summarize
from broker.matching.filters import Test
from broker.matching.problems import READ_ERRORS, EvaluationFailed
from broker.matching.restrictions import Restrictions
from broker.matching.search_index import SearchIndex
from broker.matching.states import state_of
from broker.model.change import Interaction, Version
from broker.model.scopes import Scopes, alternatives
from broker.services.export_reader import FileReader
from broker.services.search_plan import IndexedType
from broker.services.search_request import parse_stored_search
from broker.store.export_jobs import ExportFile, ExportProblem, ExportRecord
from broker.store.search_sets import SearchSets
from broker.tasks import Slices

_DAMAGED = "The stored resource cannot be read."
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""Line ends are between the parts of a JSON text, never in a string."""


@dataclass(slots=True)
class RenderedFile:
    """The lines of a file, the versions in them, and what could not be rendered."""

    lines: list[bytes] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    problems: list[ExportProblem] = field(default_factory=list)


class ExportFiles:
    """Renders files for one record."""

    def __init__(self, record: ExportRecord, index: SearchIndex) -> None:
        self._record = record
        self._index = index
        self._restrictions = Restrictions(index.context)
        self._view = SummaryView(elements=frozenset(record.elements))

    async def render(
        self, file: ExportFile, sets: SearchSets, scopes: Sequence[Scopes], slices: Slices
    ) -> RenderedFile:
        """What all of the scopes allow to read: those of the client that started the export, and of the one
        that reads the file.
        """
        reader = FileReader(sets, self._record.since_ms, self._record.moment_ms)
        rendered = RenderedFile()
        allowed = [alternatives(each, file.type, "s") for each in scopes]
        tests = queries(self._record.filters, self._indexed(file.type))
        pieces = reader.deletions(file) if file.has_deletions else reader.resources(file)
        async for versions in pieces:
            # what was given a higher security level since is not read as it was before either
            current: Mapping[str, Version] = {}
            if any(() not in each for each in allowed):
                current = await sets.current_as_stored([version.key.id for version in versions])
            for version in versions:
                both = [version, current.get(version.key.id, version)]
                if all(self._restrictions.allow(each, shown) for each in allowed for shown in both):
                    self._add(rendered, version, tests)
                await slices.pause()
        return rendered

    def _indexed(self, resource_type: str) -> IndexedType:
        definitions = self._index.definitions(resource_type) or ()
        return IndexedType(resource_type, self._record.release, definitions, self._index.context)

    def _add(self, rendered: RenderedFile, version: Version, tests: Sequence[Sequence[Test]]) -> None:
        key, release = version.key, self._record.release
        if version.interaction is Interaction.DELETE:
            rendered.lines.append(deletion_bundle(key.reference).text)
            rendered.versions.append(version)
            return
        if version.resource is None:
            rendered.problems.append(ExportProblem(key.reference, _DAMAGED))
            return
        try:
            resource = convert(version.resource, key.type, version.release, release)
            if resource is None:
                text = f"It was written as {version.release}, and no conversion to {release} exists."
                rendered.problems.append(ExportProblem(key.reference, text))
                return
            state = state_of(version._replace(resource=resource, release=release)) or {}
            if tests and not any(all(test(state) for test in query) for query in tests):
                return
            line = summarize(release, resource, self._view).text
        except (EvaluationFailed, *READ_ERRORS):
            rendered.problems.append(ExportProblem(key.reference, _DAMAGED))
            return
        rendered.lines.append(line.translate(_ONE_LINE))
        rendered.versions.append(version)


def queries(filters: Sequence[tuple[str, str]], searched: IndexedType) -> list[list[Test]]:
    """The compiled queries of a type; a resource has to meet all tests of one. Raises `Malformed`."""
    found = []
    for name, query in filters:
        if name == searched.resource_type:
            found.append(
                list(
                    parse_stored_search(
                        parse_qsl(query, keep_blank_values=True), searched, is_strict=True
                    ).tests
                )
            )
    return found
