"""docs/console.md: its commands give the answers shown, and what it configures is valid."""

import re
import tempfile
from pathlib import Path

import pytest

from broker.security.issuers import parse_issuers
from broker.settings import Settings
from broker.testing.subscriber import SimulatedSubscriber
from tests.docs.page import Block, steps
from tests.docs.running import PageRunner

PAGE = Path(__file__).parents[2] / "docs" / "console.md"
ISSUER = """[[issuer]]
name = "hospital"
issuer = "https://idp.example"
audience = "https://broker.example"
scope = "system/*.rs"
"""


def code(language: str, part: str) -> str:
    """The only block of the page in that language with that text."""
    [block] = [
        step
        for step in steps(PAGE)
        if isinstance(step, Block) and step.language == language and part in step.code
    ]
    return block.code


async def test_the_commands_of_the_page_give_the_answers_shown(subscriber: SimulatedSubscriber) -> None:
    endpoint = subscriber.url("").removeprefix("http://").rstrip("/")
    with tempfile.TemporaryDirectory(prefix="docs") as name:
        folder = Path(name)
        (folder / "clients").mkdir()
        settings = {"auth": "smart", "clients_dir": str(folder / "clients")}
        assert await PageRunner(folder, endpoint, settings).run(PAGE) == 1


def test_what_the_page_sets_and_writes_into_the_file_of_issuers_is_valid(tmp_path: Path) -> None:
    [issuer] = parse_issuers(f"{ISSUER}{code('toml', 'issuer.groups')}".encode(), lambda _url: ())
    [grant] = issuer.groups.values()
    assert grant.roles == {"operator", "auditor"}
    variables = dict(re.findall(r"(BROKER_\w+)=(\S+)", code("sh", "BROKER_CONSOLE_ISSUER")))
    settings = Settings.from_environment(variables)
    assert (settings.console_issuer, settings.console_client_id) == ("hospital", "fhir-broker-console")


@pytest.mark.parametrize("image", re.findall(r"\]\(([\w-]+\.png)\)", PAGE.read_text()))
def test_a_picture_is_small_enough_for_a_clone(image: str) -> None:
    assert 10_000 < (PAGE.parent / image).stat().st_size < 150_000
