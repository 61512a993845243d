"""Runs scenarios one after the other, and reports for each whether the broker did as it says."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from broker.errors import ConfigurationError
from broker.testing.testkit.kit import Kit, NotApplicable
from broker.testing.testkit.scenarios import Scenario


class Verdict(StrEnum):
    """What came out of a scenario."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on a scenario in a release; `problems` says what was wrong, or why it was skipped."""

    scenario: Scenario
    release: str
    verdict: Verdict
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All results of a run."""

    results: tuple[Result, ...]

    @property
    def has_failures(self) -> bool:
        return any(result.verdict is Verdict.FAILED for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the verdict on each scenario, and the requirement rows by verdict."""
        return {
            "scenarios": [
                {
                    "name": result.scenario.name,
                    "release": result.release,
                    "text": result.scenario.text,
                    "requirements": list(result.scenario.rows),
                    "verdict": result.verdict,
                    "problems": list(result.problems),
                }
                for result in self.results
            ],
            "requirements": {verdict: self.rows(verdict) for verdict in Verdict},
        }

    def rows(self, verdict: Verdict) -> list[str]:
        """The requirements of the scenarios with a verdict; what a scenario failed is in no other list."""
        failed, named = self._named(Verdict.FAILED), self._named(verdict)
        return sorted(named if verdict is Verdict.FAILED else named - failed)

    def _named(self, verdict: Verdict) -> set[str]:
        return {row for each in self.results if each.verdict is verdict for row in each.scenario.rows}


async def run_scenarios(kit: Kit, scenarios: Sequence[Scenario]) -> AsyncIterator[Result]:
    """The result of each scenario, as it ends."""
    for scenario in scenarios:
        try:
            problems = await scenario.run(kit)
        except NotApplicable as reason:
            verdict, problems = Verdict.SKIPPED, [str(reason)]
        except (ConfigurationError, httpx.HTTPError, KeyError, ValueError, TypeError) as error:
            verdict, problems = Verdict.FAILED, [f"{type(error).__name__}: {error}"]
        else:
            verdict = Verdict.FAILED if problems else Verdict.PASSED
        yield Result(scenario, kit.release, verdict, tuple(problems))
