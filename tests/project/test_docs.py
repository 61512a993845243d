"""The documentation matches the project: settings, links, and the tests of the promises."""

import re
from pathlib import Path

import pytest

from broker.services.sizing import figures
from broker.settings import Settings
from broker.settings.environment import Agreement, values_to_compare

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


@pytest.mark.parametrize(
    ("agreement", "effect"),
    [
        (Agreement.REQUIRED, "is refused while another process runs"),
        (Agreement.EXPECTED, "starts, and logs a warning"),
    ],
)
def test_the_settings_that_processes_compare_are_listed(agreement: Agreement, effect: str) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    names = ", ".join(f"`{variable}`" for variable in values_to_compare(Settings(), agreement))
    assert f"| {effect} | {names} |" in page


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


def test_the_architecture_page_names_modules_and_scripts_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    files = {f"/{path.relative_to(ROOT)}" for path in (ROOT / "broker").rglob("*.*")}
    named = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|lua))`", page))
    assert len(named) >= 15
    missing = [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
    assert missing == []
    packages = set(re.findall(r"`broker/(\w+)/`", page))
    assert [name for name in packages if not (ROOT / "broker" / name).is_dir()] == []


def test_the_figures_for_sizing_are_measured_ones() -> None:
    """Each figure with a unit is on the page of measurements."""
    docs = ROOT / "docs"
    page = (docs / "sizing.md").read_text()
    page = page.partition("## Disk")[0].replace("```", "")
    units = r"µs|ms|s|bytes|%|events per second"
    figures = re.findall(rf"(\d[\d,.]*(?: to \d[\d.]*)?) (?:{units})(?![\w])", page)
    assert len(figures) >= 15
    measured = (docs / "performance.md").read_text()
    assert [figure for figure in figures if not re.search(rf"\b{re.escape(figure)}\b", measured)] == []


def test_the_figures_of_the_calculator_are_measured_ones() -> None:
    """Each is on the page of measurements with its unit, or in one of its tables of bytes."""
    measured = (ROOT / "docs" / "performance.md").read_text()
    rows = list(figures().values())
    assert len(rows) >= 10
    missing = [
        row.name
        for row in rows
        if not re.search(rf"(?<![\d,.]){row.value:,}\s(?:{row.unit}|B\b|\|)", measured)
    ]
    assert missing == []


def test_the_index_links_every_page() -> None:
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text()
    assert [
        page.name for page in docs.glob("*.md") if page.name != "README.md" and f"({page.name})" not in index
    ] == []
