"""The documentation matches the project: settings, links, and the tests of the promises."""

import re
from pathlib import Path

import pytest

from broker.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_table_of_settings_lists_every_setting() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for variable, kind, default, sentence in Settings.describe():
        shown = f"`{default}`" if default else "unset"
        row = f"| `{variable}` | {kind.replace('|', 'or')} | {shown} | {sentence} |"
        assert row in page, f"docs/configuration.md lacks: {row}"
    rows = re.findall(r"^\| `(BROKER_\w+)`", page, re.MULTILINE)
    assert len(rows) == len(Settings.describe())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_test_exists(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text()):
        path = ROOT / file
        assert path.is_file(), f"{page.name} names {file}"
        if name:
            assert re.search(rf"def {name}\b", path.read_text()), f"{page.name} names {file}::{name}"


def test_each_promise_names_its_test() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    promises = page.partition("## Promises")[2]
    rows = [line for line in promises.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) >= 6
    for row in rows:
        assert re.search(r"`tests/[\w/]+\.py::\w+`", row), row
