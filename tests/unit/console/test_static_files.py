"""What the console serves from memory, and that the vendored files are those of their releases."""

import hashlib
import re
from pathlib import Path

import pytest

from broker.console.headers import CONTENT_SECURITY_POLICY
from broker.console.rendering import FOLDER as TEMPLATES
from broker.console.static_files import FOLDER, MEDIA_TYPES, StaticFiles

VENDOR = FOLDER / "vendor"
RELEASES = {
    # htmx.org 4.0.1 of npm: dist/
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "hx-sse.min.js": "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
    "htmx-LICENSE.txt": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
    # uplot 1.6.32 of npm: dist/
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot-LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    # @picocss/pico 2.1.1 of npm: css/
    "pico.min.css": "fbc9a63fc9fc9f72d12fd7fc9806e11fa9f77ae4f9cad146b27003a1119ba3db",
    "pico-LICENSE.txt": "afaff063e044233f917b7807dccab022f09dca474f92b642846bee4850655bbf",
}
"""The SHA-256 of each file, as the package of the release has it."""


def test_the_vendored_files_are_those_of_their_releases() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    assert found == RELEASES


@pytest.mark.parametrize("name", ["htmx", "uPlot", "pico"])
def test_each_library_has_its_licence_beside_it(name: str) -> None:
    text = (VENDOR / f"{name}-LICENSE.txt").read_text()
    assert "Permission" in text


def test_every_file_is_served_under_a_name_that_changes_with_it(tmp_path: Path) -> None:
    paths = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} <= MEDIA_TYPES.keys()
    files = StaticFiles()
    names = {path.relative_to(FOLDER).as_posix() for path in paths}
    assert all(re.fullmatch(re.escape(name) + r"\?v=[0-9a-f]{16}", files.versioned(name)) for name in names)
    (tmp_path / "a.css").write_text("a {}")
    before = StaticFiles(tmp_path).versioned("a.css")
    (tmp_path / "a.css").write_text("b {}")
    assert StaticFiles(tmp_path).versioned("a.css") != before


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_has_a_script_or_a_style_in_it(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"(?:src|href|action)=\"https?:", text)
    assert "|safe" not in text.replace(" ", "")


def test_the_policy_allows_nothing_inline_or_from_elsewhere() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
