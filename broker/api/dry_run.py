"""Renders the answer of `$dry-run` as a Parameters resource, and what `$try` has in common with it."""

from collections.abc import Iterator

from broker.api.named_values import Part, Value, flag, group, instant, render, text, whole
from broker.api.payloads import payload
from broker.errors import Issue, Malformed
from broker.model.change import Change
from broker.model.whole_number import whole_number
from broker.services.dry_run import DEFAULT_COUNT, MAX_COUNT, DryRunReport


def read_count(value: Value | None) -> int:
    """How many changes to examine; raises `Malformed`."""
    if value is None:
        return DEFAULT_COUNT
    count = whole_number(value.text)
    if count is None or not 0 < count <= MAX_COUNT:
        raise Malformed(Issue("value", f"count takes a number from 1 to {MAX_COUNT}.", "count"))
    return count


def render_dry_run(report: DryRunReport) -> bytes:
    """The counts, the newest matches, and the first problems."""
    return render(*examined_changes(report, payload(report.content, report.limits)))


def examined_changes(report: DryRunReport, content: list[Part] | None = None) -> Iterator[list[Part]]:
    """The parameters that say what was examined; `content` follows the counts."""
    yield whole("changes", report.examined)
    yield whole("matched", report.matched)
    yield instant("oldest", report.oldest_ms)
    yield flag("complete", value=report.is_complete)
    yield content or []
    yield from (_match(change) for change in report.matches)
    yield whole("failed", report.failed) if report.failed else []
    yield from (text("problem", str(problem)) for problem in report.problems)


def _match(change: Change) -> list[Part]:
    key = change.current.key
    return group(
        "match",
        text("reference", f"{key.reference}/_history/{key.version}"),
        text("interaction", change.interaction, "Code"),
        instant("time", change.current.at_ms),
    )
