"""docs/harness.md: each step works as it is written."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.docs.page import ANSWERS, RUNNABLE, Block, steps
from tests.docs.running import PageRunner
from tests.integration.nested_pytest import PLUGIN
from tests.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "harness.md"


async def test_the_steps_of_the_page_give_the_answers_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join([*PLUGIN, "-p no:cacheprovider"]))
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with tempfile.TemporaryDirectory(prefix="harness") as name:
        compared = await PageRunner(Path(name), f"127.0.0.1:{free_port()}", {}).run(PAGE)
    assert compared >= 6


def test_each_block_is_run_or_compared() -> None:
    for step in steps(PAGE):
        if isinstance(step, Block):
            assert step.language in RUNNABLE | ANSWERS, f"line {step.line}: {step.language!r}"
