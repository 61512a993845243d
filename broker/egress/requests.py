"""Serializes the requests of notifications and writes, and the GET requests for documents, and refuses what
would break their framing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from yarl import URL

USER_AGENT = "fhir-broker"
_UNSAFE = re.compile(r"[\r\n\x00]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class NotSendable(ValueError):  # noqa: N818 names what was refused
    """A header or target holds CR, LF, NUL, or characters that HTTP can't carry."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in the parts that a request needs."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @classmethod
    def of(cls, url: str) -> "Target":
        """`url` must have passed `addresses.check_url`."""
        parsed = URL(url, encoded=True)
        port = parsed.port or _DEFAULT_PORTS[parsed.scheme]
        host = parsed.raw_host or ""
        shown = f"[{host}]" if ":" in host else host
        authority = shown if port == _DEFAULT_PORTS[parsed.scheme] else f"{shown}:{port}"
        return cls(parsed.scheme, host, port, authority, parsed.raw_path_qs or "/")


def request_head(target: Target, headers: tuple[tuple[str, str], ...], method: str = "POST") -> bytes:
    """The head of a request up to the value of Content-Length. Raises `NotSendable`; its text repeats no
    header value.
    """
    names = {name.lower() for name, _ in headers}
    fields = [("Host", target.authority), *headers]
    if "user-agent" not in names:
        fields.append(("User-Agent", USER_AGENT))
    if "accept" not in names:
        fields.append(("Accept", "*/*"))
    _check_path(target)
    return b"%bContent-Length: " % (_encoded(f"{method} {target.path} HTTP/1.1\r\n") + header_lines(fields))


def get_request(target: Target, accept: str) -> bytes:
    """A whole GET, after whose response the server closes the connection. Raises `NotSendable`."""
    _check_path(target)
    fields = [
        ("Host", target.authority),
        ("User-Agent", USER_AGENT),
        ("Accept", accept),
        ("Connection", "close"),
    ]
    return _encoded(f"GET {target.path} HTTP/1.1\r\n") + header_lines(fields) + b"\r\n"


def _check_path(target: Target) -> None:
    if _UNSAFE.search(target.path) or " " in target.path:
        raise NotSendable("the path of the URL holds a blank, a line break or a NUL")


def header_lines(fields: Sequence[tuple[str, str]]) -> bytes:
    """The lines of headers. Raises `NotSendable`; its text repeats no header value."""
    for name, value in fields:
        if _UNSAFE.search(name) or _UNSAFE.search(value) or not name:
            raise NotSendable(f"the header {name!r} holds a line break or a NUL")
    return _encoded("".join([f"{name}: {value}\r\n" for name, value in fields]))


def _encoded(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise NotSendable("a header holds characters beyond ISO 8859-1") from error
