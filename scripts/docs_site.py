"""`make docs`: builds the documentation site from the Markdown of the project, checks it, and packs it into
`broker/site.zip`, which `fhir-broker docs` shows and a wheel contains.

The index docs/README.md is the navigation: each of its sections is one, with the pages that it links. A link
to something that the site does not show, such as a source file, becomes plain text. The build is strict: a
dead link, a missing anchor, and anything that a page would load from elsewhere fail it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from scripts.site_links import problems

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "broker" / "site.zip"
PROJECT_PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/device_vendor/README.md",
    "examples/ehr_integrator/README.md",
)
_DECISIONS = Path("decisions/index.md")
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)]*)?\)")
_CONTRAST = """/* the theme's own colors of the page that is open have too little contrast (WCAG AA) */
[data-md-color-scheme="default"] .md-nav .md-nav__item .md-nav__link--active { color: #2438b5; }
[data-md-color-scheme="slate"] .md-nav .md-nav__item .md-nav__link--active { color: #c5cdff; }
"""
_TIME = (1980, 1, 1, 0, 0, 0)
"""Of all files in the archive, so that the same pages give the same archive."""
_CONFIGURATION: Mapping[str, Any] = {
    "site_name": "fhir-broker",
    "site_description": "A FHIR Subscription notification broker",
    "docs_dir": "pages",
    "site_dir": "site",
    "use_directory_urls": False,  # the pages work as files too
    "theme": {
        "name": "material",
        "font": False,  # otherwise each page loads fonts from a host of Google
        "features": ["navigation.prune", "navigation.indexes", "navigation.top", "content.code.copy"],
        "palette": [
            {"media": "(prefers-color-scheme: light)", "scheme": "default"},
            {"media": "(prefers-color-scheme: dark)", "scheme": "slate"},
        ],
    },
    "extra_css": ["contrast.css"],
    "markdown_extensions": ["tables", "toc", "pymdownx.highlight", "pymdownx.superfences"],
}


def places(root: Path) -> dict[Path, Path]:
    """Where each shown file of the project is in the site."""
    docs = root / "docs"
    shown = {
        path: path.relative_to(docs)
        for path in docs.rglob("*.*")
        if path.suffix in {".md", ".json", ".svg", ".png"}
    }
    outside = [*(root / name for name in PROJECT_PAGES), *(root / "bench" / "results").glob("*.svg")]
    shown |= {path: Path("project") / path.relative_to(root) for path in outside}
    return shown


def stage(root: Path, folder: Path) -> None:
    """Copies what the site shows into the folder, with links that fit, and adds an index of the decisions."""
    shown = places(root)
    for path, place in shown.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(with_links(path, shown))
        else:
            shutil.copy(path, target)
    (folder / "contrast.css").write_text(_CONTRAST)
    decisions = sorted((root / "docs" / "decisions").glob("*.md"))
    lines = [f"- [{title(path)}]({path.name})" for path in decisions]
    (folder / _DECISIONS).write_text(
        "# Decisions\n\nWhy the broker is built this way.\n\n" + "\n".join(lines) + "\n"
    )


def with_links(path: Path, shown: Mapping[Path, Path]) -> str:
    """The text of a page, with its links as they are in the site."""

    def linked(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(path.parent / link["target"]))
        place = _DECISIONS if target.name == "decisions" else shown.get(target)
        if place is None:
            return link["text"]
        relative = os.path.relpath(place, shown[path].parent)
        return f"{link['image']}[{link['text']}]({relative}{link['anchor'] or ''})"

    return _LINK.sub(linked, path.read_text())


def title(path: Path) -> str:
    """The first heading of a page."""
    return path.read_text().partition("\n")[0].removeprefix("# ").strip()


def navigation(root: Path) -> list[dict[str, Any]]:
    """The sections of docs/README.md, each with the pages that begin a row or a line, by their titles."""
    index = root / "docs" / "README.md"
    sections: list[dict[str, Any]] = [{"Start": "README.md"}]
    for section in re.split(r"^## ", index.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if entries := list(_entries(root, text)):
            sections.append({heading.strip(): entries})
    return sections


def _entries(root: Path, text: str) -> Iterator[dict[str, str]]:
    shown = places(root)
    for name in re.findall(r"^[|-] \[[^\]]*\]\(([^)#]+)\)", text, re.MULTILINE):
        path = Path(os.path.normpath(root / "docs" / name))
        if path.name == "decisions":
            yield {"Decisions": str(_DECISIONS)}
        else:
            yield {title(path): str(shown[path])}


def build(root: Path, target: Path) -> list[str]:
    """Builds the site and packs it into `target`. The problems that it has; with any, nothing is packed."""
    with tempfile.TemporaryDirectory(prefix="docs-site-") as name:
        folder = Path(name)
        stage(root, folder / "pages")
        configuration = {**_CONFIGURATION, "nav": navigation(root)}
        (folder / "mkdocs.yml").write_text(json.dumps(configuration))  # JSON is YAML
        program = Path(sys.executable).with_name("zensical")
        built = subprocess.run(  # noqa: S603 a program of this environment
            [program, "build", "--clean", "--strict"],
            cwd=folder,
            env=os.environ | {"NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            return [f"zensical exits with {built.returncode}: {built.stdout}{built.stderr}"]
        site = folder / "site"
        (site / "assets" / "LICENSE.txt").write_text(_licence())  # of the scripts and styles of the site
        found = problems(site)
        if not found:
            pack(site, target)
        return found


def _licence() -> str:
    notice = metadata.distribution("zensical").read_text("licenses/LICENSE.md")
    if notice is None:
        raise FileNotFoundError("zensical has moved its licence")
    return notice


def pack(site: Path, target: Path) -> None:
    """Writes the files of the site into an archive, replaced as a whole."""
    draft = target.with_suffix(".draft")
    with zipfile.ZipFile(draft, "w") as archive:
        for path in sorted(site.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(str(path.relative_to(site)), _TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes(), compresslevel=9)
    draft.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(".\n")[0])
    parser.add_argument("--output", type=Path, default=TARGET, help="the archive to write")
    target = parser.parse_args().output
    if found := build(ROOT, target):
        sys.exit("\n".join(found))
    sys.stdout.write(f"{target}: {target.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
