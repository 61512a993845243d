"""The commands on the pages for users work, in their order, and give the answers that the pages show."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.docs.page import ANSWERS, RUNNABLE, Block, steps
from tests.docs.running import PageRunner

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (
    "audit",
    "erasure",
    "subscribing",
    "gateways",
    "configuration",
    "http-api",
    "pulling",
    "topics",
    "business-events",
    "streams",
    "inbox",
    "readings",
    "backup",
    "sizing",
    "secrets",
    "signatures",
    "compliance",
    "mappings",
    "device-context",
)
USED = ("curl", "redis-cli")
"""Programs that the pages use and that are not installed with the broker."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the embedded store's socket is then in it, as the pages say."""
    with tempfile.TemporaryDirectory(prefix="docs") as name:
        yield Path(name)


@pytest.mark.parametrize("name", PAGES)
async def test_the_commands_of_a_page_give_the_answers_shown(
    name: str, folder: Path, subscriber: SimulatedSubscriber
) -> None:
    page = DOCS / f"{name}.md"
    missing = [program for program in USED if program in page.read_text() and shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    endpoint = subscriber.url("").removeprefix("http://").rstrip("/")
    compared = await PageRunner(folder, endpoint, {}).run(page)
    assert compared >= 1


@pytest.mark.parametrize("name", PAGES)
def test_each_block_of_a_page_is_run_or_compared(name: str) -> None:
    for step in steps(DOCS / f"{name}.md"):
        if isinstance(step, Block):
            assert step.language in RUNNABLE | ANSWERS, f"{name}.md, line {step.line}: {step.language!r}"
