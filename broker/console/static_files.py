"""The style sheets, scripts and icon of the console, from memory. Their URLs have a digest of the content, so
that a browser keeps each for good and asks for what changed.
"""

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from broker.console.headers import SECURITY_HEADERS

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOREVER = "public, max-age=31536000, immutable"


class _File(NamedTuple):
    content: bytes
    packed: bytes
    media_type: str
    digest: str


class StaticFiles:
    """Reads the files when it is made."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in MEDIA_TYPES
        }

    def versioned(self, name: str) -> str:
        """The path of a file below the static folder, with its digest. Raises `KeyError`."""
        return f"{name}?v={self._files[name].digest}"

    async def serve(self, request: Request) -> Response:
        """The file of the path, 404 without one."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response(status_code=404, headers=dict(SECURITY_HEADERS))
        is_current = request.query_params.get("v") == file.digest
        headers = {**SECURITY_HEADERS, "Vary": "Accept-Encoding"}
        headers["Cache-Control"] = _FOREVER if is_current else "no-cache"
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(file.packed, headers=headers, media_type=file.media_type)
        return Response(file.content, headers=headers, media_type=file.media_type)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return _File(content, gzip.compress(content, mtime=0), MEDIA_TYPES[path.suffix], digest)
