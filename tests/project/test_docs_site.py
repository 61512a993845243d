"""The documentation site is complete, has no dead link, and loads nothing from elsewhere."""

import os
import zipfile
from pathlib import Path

import pytest

from scripts.docs_site import build, navigation, places
from scripts.site_links import problems

ROOT = Path(__file__).parents[2]
TASKS = (
    "Subscribe from an EHR",
    "Connect a gateway",
    "Map a device",
    "Operate",
    "Secure",
    "Integrate in CI",
)


def test_the_site_is_built_without_a_warning_a_dead_link_or_anything_from_elsewhere(tmp_path: Path) -> None:
    archive = tmp_path / "site.zip"
    assert build(ROOT, archive) == []
    with zipfile.ZipFile(archive) as site:
        names = set(site.namelist())
        pages = {str(place.with_suffix(".html")) for place in places(ROOT).values() if place.suffix == ".md"}
        renamed = {os.path.normpath(name.replace("README.html", "index.html")) for name in pages}
        assert renamed - names == set()
        assert {"index.html", "decisions/index.html", "search.json", "assets/LICENSE.txt"} <= names
        start = site.read("index.html").decode()
    assert all(task in start for task in TASKS)


def test_the_navigation_begins_with_the_tasks_of_users_and_has_every_page() -> None:
    sections = [next(iter(section.items())) for section in navigation(ROOT)]
    titles = [title for title, _ in sections]
    assert titles == ["Start", *TASKS, "Reference", "Architecture and decisions"]
    listed = {place for _, entries in sections[1:] for entry in entries for place in entry.values()}
    docs = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert docs - listed == set()


@pytest.mark.parametrize(
    ("html", "line"),
    [
        ('<a href="b.html">b</a>', None),
        ('<a href="b.html#part">b</a>', None),
        ('<a href="#here">b</a><p id="here">', None),
        ('<a href="https://example.org/x">elsewhere is linked, not loaded</a>', None),
        ('<link rel="canonical" href="b.html">', None),
        ('<a href="c.html">c</a>', "a.html links c.html, which is not in the site"),
        ('<a href="b.html#other">b</a>', "a.html links b.html#other: the page has no such anchor"),
        ('<a href="#other">b</a>', "a.html links #other: the page has no such anchor"),
        ('<img src="x.png">', "a.html links x.png, which is not in the site"),
        ('<script src="https://example.org/x.js"></script>', "a.html loads https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "a.html loads //example.org/x.css"),
        ('<img src="http://example.org/x.png">', "a.html loads http://example.org/x.png"),
    ],
)
def test_a_dead_link_and_what_is_loaded_from_elsewhere_are_found(
    tmp_path: Path, html: str, line: str | None
) -> None:
    (tmp_path / "a.html").write_text(html)
    (tmp_path / "b.html").write_text('<h2 id="part">Part</h2>')
    assert problems(tmp_path) == ([] if line is None else [line])


def test_a_style_that_loads_something_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        "@import 'https://example.org/a.css'; b { src: url(//example.org/b.woff) }"
    )
    assert problems(tmp_path) == ["a.css loads https://example.org/a.css", "a.css loads //example.org/b.woff"]
