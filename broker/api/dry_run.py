"""Renders the answer of `$dry-run` as a Parameters resource."""

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
    return render(
        whole("changes", report.examined),
        whole("matched", report.matched),
        instant("oldest", report.oldest_ms),
        flag("complete", value=report.is_complete),
        payload(report.content, report.limits),
        *(_match(change) for change in report.matches),
        whole("failed", report.failed) if report.failed else [],
        *(text("problem", str(problem)) for problem in report.problems),
    )


def _match(change: Change) -> list[Part]:
    key = change.current.key
    return group(
        "match",
        text("reference", f"{key.reference}/_history/{key.version}"),
        text("interaction", change.interaction, "Code"),
        instant("time", change.current.at_ms),
    )
