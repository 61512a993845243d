"""The Lua files: their heads say what a caller needs, their lines are short, and their shared parts exist."""

import re
from importlib import resources
from pathlib import Path

import pytest

from broker.store.scripts.source import NAMES, source_of

FOLDER = Path(str(resources.files("broker.store"))) / "lua"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.lua"))
FILES = sorted(FOLDER.rglob("*.lua"))


def test_every_file_is_a_script_that_is_loaded() -> None:
    assert sorted(NAMES) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_head_lists_keys_arguments_reply_and_whether_a_call_may_be_repeated(name: str) -> None:
    head = re.match(r"(?:--.*\n)+", (FOLDER / f"{name}.lua").read_text())
    assert head is not None
    for label in ("KEYS", "ARGV", "Returns", "Repeat"):
        assert re.search(rf"^-- {label} +\S", head[0], re.MULTILINE), f"{name}.lua has no {label}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_lines_have_at_most_110_columns(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if len(line) > 110] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_calls_only_functions_that_it_or_its_shared_parts_define(name: str) -> None:
    source = re.sub(r"--.*", "", source_of(name))
    source = re.sub(r"'[^']*'", "''", source)
    defined = set(re.findall(r"local function (\w+)\(", source))
    called = set(re.findall(r"(?<![\w.:])([a-z_]\w*)\(", source)) - defined
    assert called <= {
        "tonumber",
        "error",
        "ipairs",
        "pairs",
        "unpack",
        "next",
        "function",
        "if",
        "and",
        "or",
        "not",
        "return",
    }
