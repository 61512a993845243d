"""What an auditor looks for in the audit trail: who, when, what, and about which resource or patient."""

from dataclasses import dataclass

from broker.errors import Issue, Malformed
from broker.model.audit import AuditAction, AuditOutcome, ChainedEntry
from broker.services.audit import Period, period_of
from broker.services.search_values import check_date

MAX_EXAMINED = 20_000
"""Entries that one page looks at: with a rare filter it may have none, and says how far it came."""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """An empty field includes everything. `subject` is `Type/id`, with or without a version; an entry is also
    found by the patient whose data it was about.
    """

    agent: str = ""
    action: AuditAction | None = None
    subject: str = ""
    is_failure: bool = False
    start: str = ""
    end: str = ""

    @property
    def period(self) -> Period:
        """From the first moment of `start` to the last one of `end`. Raises `Malformed`."""
        for name, date in (("from", self.start), ("to", self.end)):
            if date and (date[:1].isalpha() or not check_date(date)):
                raise Malformed(Issue("value", f"{name} takes a date such as 2026-03 or an instant.", name))
        bounds = [f"{prefix}{date}" for prefix, date in (("ge", self.start), ("le", self.end)) if date]
        return period_of(bounds)

    def passes(self, chained: ChainedEntry) -> bool:
        entry = chained.entry
        if self.agent not in {"", entry.agent} or self.action not in {None, entry.action}:
            return False
        if self.is_failure and entry.outcome is AuditOutcome.SUCCESS:
            return False
        return not self.subject or self.subject in entry.patients or self._is_about(chained)

    def _is_about(self, chained: ChainedEntry) -> bool:
        return any(
            self.subject in {entity.reference, f"{entity.type}/{entity.id}"}
            for entity in chained.entry.entities
        )
