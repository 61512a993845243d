"""Checks a built site: every link within it has a target, and no page loads anything from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    ("link", "href"),
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}
_NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}
"""Relations of `link` that a browser only remembers."""
_CSS_URL = re.compile(r"(?:@import\s*|url\(\s*)[\"']?((?:https?:)?//[^\"')\s]+)")


class _Page(HTMLParser):
    """What a page links, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") in _NOT_LOADED:
            self.links.append(attributes.get("href", ""))
            return
        self.loaded += [attributes[name] for name in attributes if (tag, name) in _LOADED]


def problems(site: Path) -> list[str]:
    """One line for each dead link and missing anchor, and for each thing that is loaded from elsewhere."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = [line for path, page in pages.items() for line in _of_page(site, path, page, pages)]
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)} loads {url}" for url in _CSS_URL.findall(path.read_text())]
    return found


def _of_page(site: Path, path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    name = path.relative_to(site)
    for url in page.loaded:
        if _is_elsewhere(url):
            yield f"{name} loads {url}"
    for url in (*page.links, *page.loaded):
        if _is_elsewhere(url):
            continue
        parts = urlsplit(url)
        folder = site if parts.path.startswith("/") else path.parent  # only the page of 404 has such links
        target = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            yield f"{name} links {url}, which is not in the site"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"{name} links {url}: the page has no such anchor"


def _is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme in {"http", "https", "mailto"}
