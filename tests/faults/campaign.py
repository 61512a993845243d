"""Runs scenarios: each injects faults under load and passes its history to the checker.

A scenario gets an empty folder and a size, and returns the rig that it used. `scenarios/table.py` lists all
scenarios; the test suite runs a short selection.
"""

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.faults.checker import Verdict, check
from tests.faults.rig import SETTLE_S, Rig

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How long a scenario runs: briefly in the test suite, or in full; and on which store."""

    is_short: bool
    is_cluster: bool = False

    def pick(self, short: T, full: T) -> T:
        return short if self.is_short else full


class Skipped(Exception):  # noqa: N818 no error: the machine lacks a program
    """A scenario cannot run on this machine; the message says what is missing."""


Run = Callable[[Path, Size], Awaitable[Rig]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`title` names the fault in the report. `on_cluster`: the store is a Cluster of three primaries and
    their replicas.
    """

    name: str
    title: str
    run: Run
    on_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one scenario."""

    scenario: str
    title: str
    is_good: bool
    seconds: float
    faults: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    owed: int = 0
    delivered: int = 0
    lost: int = 0
    duplicates: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    recoveries_s: tuple[float, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    skipped: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values | {"recoveries_s": tuple(values["recoveries_s"])})


async def run_scenario(scenario: Scenario, folder: Path, size: Size) -> tuple[Result, Verdict | None]:
    """Runs the scenario in the folder and checks its history. Raises the scenario's own AssertionError."""
    started = time.monotonic()
    try:
        rig = await scenario.run(folder, replace(size, is_cluster=scenario.on_cluster))
    except Skipped as reason:
        return Result(scenario.name, scenario.title, True, 0.0, skipped=str(reason)), None
    verdict = check(rig.history)
    result = Result(
        scenario=scenario.name,
        title=scenario.title,
        is_good=verdict.is_good,
        seconds=round(time.monotonic() - started, 1),
        faults=dict(Counter(fault.name for fault in rig.history.faults())),
        acknowledged=verdict.acknowledged,
        owed=verdict.owed,
        delivered=verdict.delivered,
        lost=verdict.lost,
        duplicates=verdict.duplicates,
        broken=dict(verdict.broken),
        recoveries_s=tuple(round(recovery.after_s, 2) for recovery in rig.history.recoveries()),
        figures=rig.figures,
    )
    return result, verdict


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """An empty folder with a path short enough for Unix sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def running_rig(
    folder: Path, size: Size, *, settle_s: float = SETTLE_S, **options: Any
) -> AsyncIterator[Rig]:
    """A rig that has time to deliver everything before it stops; the checker reports what is missing."""
    async with Rig(folder, is_cluster=size.is_cluster, **options) as rig:
        yield rig
        await rig.settle(settle_s)
