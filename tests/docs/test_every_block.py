"""Each code block of each page is run by the test of its page, or checked here: commands have the options
that they name, and data can be read.
"""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.cli.commands import COMMANDS, load
from broker.security.issuers import parse_issuers
from broker.security.outbound_rules import OutboundRules
from broker.sources.mqtt_topics import TopicRules
from tests.docs.page import Block, steps
from tests.docs.test_pages import PAGES

ROOT = Path(__file__).parents[2]
RUNNERS = [path for path in Path(__file__).parent.glob("test_*.py") if "PageRunner(" in path.read_text()]
RUN = {ROOT / "README.md"} | {  # tests/integration/test_readme.py
    ROOT / "docs" / name
    for name in (
        *(f"{page}.md" for page in PAGES),
        *(name for path in RUNNERS for name in re.findall(r'"docs" / "([\w-]+\.md)"', path.read_text())),
    )
}
"""Their tests run every block, in order, and compare the answers, except for the blocks that are marked."""
ELSEWHERE = {"nginx", "caddyfile"}
"""tests/docs/test_tls.py starts these servers."""
_OPERATOR = re.compile(r"^(\|\|?|&&?|;|\d?>{1,2}|<)$")


def blocks() -> Iterator[tuple[Path, Block]]:
    outside = [*ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for page in sorted([*(ROOT / "docs").rglob("*.md"), *outside]):
        for step in steps(page):
            if isinstance(step, Block) and (page not in RUN or step.directive("not run:") is not None):
                yield page, step


BLOCKS = list(blocks())
COMMAND_BLOCKS = [(page, block) for page, block in BLOCKS if block.language in {"sh", "shell"}]


def place(page: Path, block: Block) -> str:
    return f"{page.relative_to(ROOT)}:{block.line}"


def statements(code: str) -> Iterator[str]:
    """The lines; one whose quotation ends on a later line continues until there."""
    statement = ""
    for line in code.splitlines():
        statement += line
        try:
            shlex.split(statement, comments=True)
        except ValueError:
            statement += "\n"
        else:
            yield statement
            statement = ""
    assert not statement, "a quotation is not closed"


def commands(code: str) -> Iterator[list[str]]:
    """The words of each `fhir-broker` in a block, without variables before it and operators after it."""
    code = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", code, flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    for line in statements(re.sub(r"\$\([^)]*\)", "WORD", code)):
        words = shlex.split(line, comments=True)
        while words and re.match(r"\w+=|until$|while$|if$", words[0]):
            words.pop(0)
        ends = [n for n, word in enumerate(words) if _OPERATOR.match(word)]
        words = words[: ends[0]] if ends else words
        if words and words[0].endswith("fhir-broker"):
            yield words[1:]


def parse(words: list[str]) -> None:
    """Raises an error unless there is the command, with these options and arguments."""
    name, *arguments = words
    command: Any = load(name, COMMANDS[name])
    if children := getattr(command, "commands", {}):
        name, *arguments = arguments
        assert name in children, f"no such command: {name}"
        command = children[name]
    command.make_context(name, arguments)


def load_file(text: str, path: Path) -> None:
    """Raises an error unless the text is TOML and, where the broker has a file of this kind, a valid one."""
    match tomllib.loads(text):
        case {"issuer": [*_]}:
            assert list(parse_issuers(text.encode(), lambda _url: ()))
        case {"endpoint": [*_]}:
            path.write_text(text)
            OutboundRules.read(path)
        case {"topic": [*_]}:
            path.write_text(text)
            TopicRules.read(path)
        case _:
            pass


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option --config sets the variable for this process; it is restored after the test."""
    for name in ("BROKER_CONFIG", "BROKER_CLIENT_ID", "BROKER_CLIENT_KEY"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[place(*each) for each in BLOCKS])
def test_a_block_can_be_read_in_its_language(page: Path, block: Block, tmp_path: Path) -> None:
    match block.language:
        case "json":
            text = block.code.strip()
            json.loads(text if text.startswith(("{", "[")) else f"{{{text}}}")
        case "toml":
            load_file(block.code, tmp_path / "file.toml")
        case "yaml":
            assert yaml.safe_load(block.code)
        case "python":
            ast.parse(block.code)
        case language:
            assert language in {"sh", "shell", "text", "http"} | ELSEWHERE, "the block names no language"


@pytest.mark.parametrize(("page", "block"), COMMAND_BLOCKS, ids=[place(*each) for each in COMMAND_BLOCKS])
def test_each_command_has_the_options_that_the_page_names(page: Path, block: Block) -> None:
    for words in commands(block.code):
        parse(words)


def test_the_blocks_of_commands_are_valid_for_the_shell() -> None:
    functions = [f"f{n}() {{\n{block.code}\n}}" for n, (_, block) in enumerate(COMMAND_BLOCKS)]
    checked = subprocess.run(
        ["bash", "-n"], input="\n".join(functions), capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("fhir-broker serve --workers 2", [["serve", "--workers", "2"]]),
        ("A=1 B='x y' fhir-broker topics list | jq .", [["topics", "list"]]),
        ("x=$(fhir-broker serve)\ncurl http://x", []),
        ("cat > f <<'END'\nfhir-broker nothing\nEND\nfhir-broker serve > log", [["serve"]]),
        ("fhir-broker serve \\\n  --workers 2", [["serve", "--workers", "2"]]),
        ("curl -d '{\n}' x\nfhir-broker serve", [["serve"]]),
    ],
)
def test_the_commands_of_a_block_are_found(code: str, found: list[list[str]]) -> None:
    assert list(commands(code)) == found


@pytest.mark.parametrize("line", ["serve --wokers 2", "subscriptions shwo x", "topics list --jsno"])
def test_a_command_with_a_wrong_option_is_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|unexpected"):
        parse(line.split())
