"""The conformance report of what is stored: how the resources that were written last meet their profiles.

The command `conformance-report` makes the same report of files and of whole types.
"""

from collections.abc import Mapping
from enum import StrEnum

from broker.errors import Issue, Malformed, RequestError
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.validation import find_issues
from broker.model.access import Access, authorize
from broker.model.principal import Principal
from broker.model.release import Release
from broker.profiles import report_view
from broker.profiles.catalog import ProfileHolder
from broker.profiles.report import ConformanceReport, Reporter
from broker.services.document import Document
from broker.store.change_log import ChangeLog
from broker.tasks import Slices

DEFAULT_COUNT, MAX_COUNT = 500, 5_000
_READ = Access(scope="system/{type}.r")


class ReportFormat(StrEnum):
    """The forms of the report."""

    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


class ConformanceService:
    """Reports about resources that the principal may read."""

    def __init__(self, change_log: ChangeLog, profiles: ProfileHolder) -> None:
        self._change_log = change_log
        self._profiles = profiles

    async def report(
        self, principal: Principal, resource_type: str, release: Release, count: int
    ) -> ConformanceReport:
        """The resources of the type among the newest `count` changes, each in its newest version.

        Raises `Malformed` for an unknown type and a count that is not from 1 to `MAX_COUNT`, and `Forbidden`.
        """
        if resource_type not in RESOURCE_TYPES[release]:
            text = f"{resource_type[:80]!r} is not a resource type of {release}. Choose one that is."
            raise Malformed(Issue("value", text, "type"))
        if not 0 < count <= MAX_COUNT:
            raise Malformed(Issue("value", f"count takes a number from 1 to {MAX_COUNT}.", "count"))
        authorize(principal, _READ, resource_type)
        reporter, slices = Reporter(self._profiles.current, release), Slices()
        seen: set[str] = set()
        async for change in self._change_log.newest(principal.tenant, count):
            version = change.current
            reference = version.key.reference
            if version.key.type != resource_type or version.release is not release or reference in seen:
                continue
            seen.add(reference)
            if version.resource is None:
                continue
            await slices.pause()
            try:
                structure = find_issues(release, resource_type, version.resource)
                reporter.add(reference, version.resource.copy(), structure)
            except RequestError as error:
                reporter.add(reference, {"resourceType": resource_type}, error.issues)
        return reporter.report()


def as_document(report: ConformanceReport, form: str) -> Document:
    """The report to download. Raises `Malformed` for an unknown form."""
    if form not in set(ReportFormat):
        text = f"format takes {', '.join(ReportFormat)}, not {form[:80]!r}."
        raise Malformed(Issue("value", text, "format"))
    render, media_type, suffix = _FORMS[ReportFormat(form)]
    return Document(render(report), media_type, f"conformance-report.{suffix}")


_FORMS: Mapping[ReportFormat, tuple[report_view.Renderer, str, str]] = {
    ReportFormat.MARKDOWN: (report_view.as_markdown, "text/markdown", "md"),
    ReportFormat.HTML: (report_view.as_html, "text/html", "html"),
    ReportFormat.JSON: (report_view.as_json, "application/json", "json"),
}
