"""docs/ehr-guide.md: each step works as it is written, against a simulated EHR."""

import shutil
import tempfile
from pathlib import Path

import pytest

from broker.testing.ehr import SimulatedEhr
from tests.docs.page import ANSWERS, RUNNABLE, Block, steps
from tests.docs.running import PageRunner

PAGE = Path(__file__).parents[2] / "docs" / "ehr-guide.md"


async def test_the_steps_bring_a_reading_into_the_chart() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with tempfile.TemporaryDirectory(prefix="guide") as name:
        (Path(name) / "targets.toml").touch()
        async with SimulatedEhr() as ehr:
            endpoint = ehr.origin.removeprefix("http://")
            runner = PageRunner(Path(name), endpoint, {"write_targets": "targets.toml"})
            compared = await runner.run(PAGE)
    assert compared >= 5


def test_each_block_is_run_or_compared() -> None:
    for step in steps(PAGE):
        if isinstance(step, Block):
            assert step.language in RUNNABLE | ANSWERS, f"line {step.line}: {step.language!r}"
