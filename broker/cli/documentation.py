"""`docs`: shows the documentation site, which `make docs` packs into `site.zip` of this package."""

import mimetypes
import zipfile
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from broker.errors import ConfigurationError

SITE = Path(__file__).resolve().parents[1] / "site.zip"


def documentation(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port on 127.0.0.1; 0 takes any free port.")
    ] = 8008,
    extract: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the site into a new folder instead, as HTML files."),
    ] = None,
) -> None:
    """Show the documentation of this version, without a network.

    The site is served on 127.0.0.1 until Ctrl-C. A checkout has it after `make docs`.

    Examples:

        fhir-broker docs

        fhir-broker docs --extract fhir-broker-docs
    """
    site = read(SITE)
    if extract is not None:
        _extract(site, extract)
        typer.echo(f"Open {extract / 'index.html'} in a browser.")
        return
    with server(site, port) as serving:
        typer.echo(f"The documentation is on http://127.0.0.1:{serving.server_port}/. Ctrl-C stops it.")
        serving.serve_forever()


def read(path: Path) -> dict[str, bytes]:
    """The files of the site by their path."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except FileNotFoundError as error:
        raise ConfigurationError(
            "This installation has no documentation site. Run make docs, or read the Markdown pages in docs/."
        ) from error


def _extract(site: dict[str, bytes], folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
        for name, content in site.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(
            f"--extract {folder}: {error.strerror}. Name a folder that does not exist yet."
        ) from error


def server(site: dict[str, bytes], port: int) -> ThreadingHTTPServer:
    """A server on loopback with the files. Raises `ConfigurationError` if the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
            status = HTTPStatus.OK if name in site else HTTPStatus.NOT_FOUND
            content = site.get(name, site.get("404.html", b"not found"))
            kind = mimetypes.guess_type(name)[0] if status is HTTPStatus.OK else "text/html"
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline' data:")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Writes no line for a request."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ConfigurationError(f"--port {port}: {error.strerror}. Choose another one.") from error
