"""The settings of the audit trail. They are fields of `Settings`."""

from dataclasses import dataclass
from datetime import timedelta

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import BOOL, PERIOD


@dataclass(frozen=True)
class AuditSettings:
    """Part of `Settings`."""

    audit: bool = setting(
        True,
        BOOL,
        "on",
        "Whether every access to patient data, every change and every delivery attempt leaves an entry in the"
        " audit trail.",
        agreement=Agreement.REQUIRED,
    )
    audit_retention: timedelta | None = setting(
        timedelta(days=2192),
        PERIOD,
        "2192d",
        "How long entries of the audit trail are kept: a duration or forever. The default is six years, for"
        " which HIPAA wants documentation kept (45 CFR 164.316).",
        agreement=Agreement.REQUIRED,
    )
