"""Log lines: one event a line on stderr, as `key=value` text or as JSON, with secrets and bodies masked.

Masking is by key (`authorization`, `body`, …, at any depth) and, in every text, of what a URL carries besides its place: user
name, password and query. What other libraries log passes the same way, from warnings upwards.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_SECRET_KEY = re.compile(
    r"(^|_)(assertion|authorization|bod(y|ies)|cookies?|credentials?|headers?|jwt|passw(or)?ds?|secrets?|tokens?|(api|private)_?keys?)(_|$)"
)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_PLAIN = re.compile(r"[^\s\"'=\\]+")
_FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.access", "aiohttp", "apscheduler", "asyncio")


def configure(level: str, *, json: bool) -> None:
    """Sets up logging of the whole process; `level` holds for the broker's own lines. May be called again."""
    rendering: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if json:
        rendering += [structlog.processors.JSONRenderer(default=str)]
    else:
        rendering += [_as_line]
    # redaction comes after tracebacks became text, so that nothing is written that did not pass it
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared], processors=rendering
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in _FOREIGN:
        foreign = logging.getLogger(name)
        foreign.handlers, foreign.propagate = [], True
        foreign.setLevel(logging.WARNING)
    logging.getLogger("broker").setLevel(_LEVELS[level])


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that masks what must not be written."""
    return {key: _masked(key, value) for key, value in event.items()}


def redact_url(url: str) -> str:
    """The URL without user name, password, query and fragment; a mask stands where something was."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{MASK}@{place}" if "@" in parts.netloc else place
    return urlunsplit((parts.scheme, netloc, parts.path, MASK if parts.query else "", ""))


def _masked(key: object, value: object) -> object:
    if value is not None and not isinstance(value, bool) and _is_secret(str(key)):
        return MASK
    match value:
        case str() if "://" in value:
            return _URL.sub(lambda found: redact_url(found[0]), value)
        case Mapping():
            return {inner: _masked(inner, one) for inner, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked("", one) for one in value]
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
    return value


def _is_secret(key: str) -> bool:
    """By whole words, whatever joins them: `X-Auth-Token`, `accessToken` and `response_body` are, `bodyguard` is not."""
    words = "_".join(_WORD.findall(key)).lower()
    return _SECRET_KEY.search(words) is not None


def _as_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`time level event key=value …`, then a traceback, if there is one, indented so that each event starts a line of its own."""
    fields = dict(event)
    head = [
        str(fields.pop("timestamp", "")),
        str(fields.pop("level", "")),
        _one_line(fields.pop("event", "")),
    ]
    trace = fields.pop("exception", None)
    line = " ".join([*filter(None, head), *(f"{key}={_quoted(value)}" for key, value in fields.items())])
    return line if trace is None else line + "\n    " + str(trace).replace("\n", "\n    ")


def _one_line(value: Any) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))


def _quoted(value: Any) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_one_line(escaped)}"'
