"""Reads the form of a POST within its bounds, and refuses those of other web sites."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from broker.console.cookies import is_csrf_token
from broker.errors import Forbidden, Issue, Malformed, TooLarge, UnsupportedMedia

MAX_BYTES = 5 * 1024**2
_MAX_FIELDS = 20_000
_TYPE = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> Mapping[str, Sequence[str]]:
    """The fields, each with its values. Raises `UnsupportedMedia`, `TooLarge` and `Malformed`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise UnsupportedMedia(Issue("not-supported", "The console takes forms of its own pages only."))
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BYTES:
            raise TooLarge(Issue("too-long", f"The form has more than {MAX_BYTES} bytes. Send less at once."))
        chunks.append(chunk)
    try:
        return parse_qs(
            b"".join(chunks).decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise Malformed(Issue("structure", "The form can't be read. Go back and send it again.")) from error


def check_origin(request: Request, own: str) -> None:
    """Raises `Forbidden` for a form of another web site. `own` is the origin of the broker's URL; a broker is
    also reached by other names, which `Host` has then.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    host = request.headers.get("host", "")
    is_own = origin is None or origin == own or (bool(host) and urlsplit(origin).netloc == host)
    if not is_own or site not in {"same-origin", "none"}:
        raise Forbidden(Issue("forbidden", "The form was sent by another web site, so nothing was done."))


def check_csrf(fields: Mapping[str, Sequence[str]], secret: str) -> None:
    """Raises `Forbidden` unless the form is of a page of this session."""
    token = fields.get("csrf", [""])[0]
    if not is_csrf_token(token, secret):
        text = "The form is of a session that has ended, so nothing was done. Load the page again."
        raise Forbidden(Issue("forbidden", text))
