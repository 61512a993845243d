"""`docs`: the site of the package is served on loopback, or written into a folder."""

import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from broker.cli import app, documentation
from broker.errors import ConfigurationError

PAGES = {
    "index.html": b"<h1>Start</h1>",
    "a/b.html": b"<h1>B</h1>",
    "404.html": b"<h1>None</h1>",
    "x.css": b"p{}",
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site.zip"
    with zipfile.ZipFile(path, "w") as site:
        for name, content in PAGES.items():
            site.writestr(name, content)
    monkeypatch.setattr(documentation, "SITE", path)
    return path


@pytest.fixture
def url(archive: Path) -> Iterator[str]:
    with documentation.server(documentation.read(archive), 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_the_pages_are_served_with_their_types_and_may_load_nothing_from_elsewhere(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        start = client.get("/")
        assert (start.status_code, start.content) == (200, PAGES["index.html"])
        assert start.headers["content-type"] == "text/html"
        assert start.headers["content-security-policy"].startswith("default-src 'self'")
        assert client.get("/a/b.html?q=1").content == PAGES["a/b.html"]
        assert client.get("/x.css").headers["content-type"] == "text/css"
        for path in ("/c.html", "/../site.zip", "/a/../../etc/passwd"):
            absent = client.get(path)
            assert (absent.status_code, absent.content) == (404, PAGES["404.html"])


def test_the_site_is_written_into_a_new_folder(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = CliRunner().invoke(app, ["docs", "--extract", str(folder)])
    assert done.exit_code == 0
    assert str(folder / "index.html") in done.output
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == PAGES.keys()
    again = CliRunner().invoke(app, ["docs", "--extract", str(folder)])
    assert isinstance(again.exception, ConfigurationError)
    assert "Name a folder that does not exist yet." in str(again.exception)


def test_an_installation_without_the_site_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "SITE", tmp_path / "absent.zip")
    done = CliRunner().invoke(app, ["docs"])
    assert isinstance(done.exception, ConfigurationError)
    assert "Run make docs" in str(done.exception)


def test_a_port_that_is_taken_is_refused(url: str) -> None:
    done = CliRunner().invoke(app, ["docs", "--port", url.rpartition(":")[2]])
    assert isinstance(done.exception, ConfigurationError)
    assert "Choose another one." in str(done.exception)
