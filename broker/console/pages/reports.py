"""The conformance report and the resource mapping document: read here, or downloaded."""

from broker.console.page import Answer, Download, PageRequest, View
from broker.errors import Issue, Malformed
from broker.model.release import Release
from broker.model.whole_number import whole_number
from broker.profiles.report import ConformanceReport
from broker.services.conformance import DEFAULT_COUNT, ConformanceService, ReportFormat, as_document
from broker.services.document import Document
from broker.services.mappings import FORMATS, MappingService

_OBSERVATION = "Observation"


class ReportPages:
    """The rows for `/conformance` and `/mapping-document`."""

    def __init__(self, conformance: ConformanceService, mappings: MappingService) -> None:
        self._conformance = conformance
        self._mappings = mappings

    async def conformance(self, request: PageRequest) -> Answer:
        """How the resources that were written last meet their profiles."""
        asked = _asked(request)
        values = {
            "asked": asked,
            "releases": list(Release),
            "formats": list(ReportFormat),
            "report": await self._report(request, asked),
        }
        return View("conformance.html", values)

    async def download_conformance(self, request: PageRequest) -> Answer:
        """The same report as a file."""
        report = await self._report(request, _asked(request))
        return _download(as_document(report, request.query.get("format", "")))

    async def mapping_document(self, _request: PageRequest) -> Answer:
        """What becomes of the data of each device."""
        return View("mapping_document.html", {"sections": self._mappings.sections(), "formats": FORMATS})

    async def download_mapping_document(self, request: PageRequest) -> Answer:
        """The same as a file."""
        return _download(self._mappings.document(request.query.get("format", "")))

    async def _report(self, request: PageRequest, asked: dict[str, str]) -> ConformanceReport:
        release = asked["release"]
        if release not in set(Release):
            raise Malformed(Issue("value", f"release takes {', '.join(Release)}.", "release"))
        count = whole_number(asked["count"]) or 0
        return await self._conformance.report(request.principal, asked["type"], Release(release), count)


def _asked(request: PageRequest) -> dict[str, str]:
    query = request.query
    return {
        "type": query.get("type", _OBSERVATION).strip(),
        "release": query.get("release", Release.R4),
        "count": query.get("count", str(DEFAULT_COUNT)).strip(),
    }


def _download(document: Document) -> Download:
    return Download(document.text.encode(), document.media_type, document.filename)
