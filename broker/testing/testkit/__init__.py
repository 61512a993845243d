"""Scenarios that judge a broker from the outside: each sends readings, disturbs something, and checks what a
subscriber gets. They run against this broker and any other; the report names the requirements of each.

The command `testkit` runs them.
"""

from broker.testing.testkit.kit import Kit, NotApplicable
from broker.testing.testkit.report import Report, Result, Verdict, run_scenarios
from broker.testing.testkit.scenarios import SCENARIOS, Scenario

__all__ = [
    "SCENARIOS",
    "Kit",
    "NotApplicable",
    "Report",
    "Result",
    "Scenario",
    "Verdict",
    "run_scenarios",
]
