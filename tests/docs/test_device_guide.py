"""docs/device-guide.md: each step works as it is written, in a folder that has only what the steps make."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.docs.page import ANSWERS, RUNNABLE, Block, steps
from tests.docs.running import PageRunner

PAGE = Path(__file__).parents[2] / "docs" / "device-guide.md"


async def test_the_steps_bring_the_reading_of_a_new_device_to_a_subscriber() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with tempfile.TemporaryDirectory(prefix="guide") as name:
        (Path(name) / "mappings").mkdir()
        compared = await PageRunner(Path(name), "127.0.0.1:9", {"mappings_dir": "mappings"}).run(PAGE)
    assert compared >= 6


def test_each_block_is_run_or_compared() -> None:
    for step in steps(PAGE):
        if isinstance(step, Block):
            assert step.language in RUNNABLE | ANSWERS, f"line {step.line}: {step.language!r}"
