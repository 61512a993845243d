"""Log lines: one line for each event on stderr, as `key=value` text or JSON, with secrets and bodies masked.

Every line has a time, a level, a message and the name of its logger; a line that belongs to a request also
has its `request_id`. Values are masked by their key (`authorization`, `body`, …) at any depth. In every text,
the user name, password and query of a URL are masked. Tracebacks have no texts of errors (`tracebacks.py`).
Warnings and errors of other libraries, uvicorn among them, are logged in the same way. The commands call
`configure` once, at start.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from broker.model.trace import trace_id
from broker.telemetry.tracebacks import format_traceback

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
_HEAD = ("time", "level", "logger", "message")
_UNQUOTED = re.compile(r"[^\s\"'=\\]+")
_OTHER_LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "aiohttp", "asyncio")


def configure(level: str, *, json: bool) -> None:
    """Sets up logging for the whole process; `level` applies to the lines of the broker itself. May be called
    again.
    """
    rendering: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _in_order]
    if json:
        rendering += [structlog.processors.JSONRenderer(default=str)]
    else:
        rendering += [_as_line]
    # redaction comes after tracebacks were formatted, so that it applies to all text that is written
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.ExceptionRenderer(format_traceback),
        structlog.processors.EventRenamer("message"),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=rendering))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in _OTHER_LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)
    logging.getLogger("broker").setLevel(_LEVELS[level])


def log_fields(traceparent: str) -> dict[str, str]:
    """The field `trace_id` for the lines about a change, an event or a reading; none without a trace."""
    return {"trace_id": trace_id(traceparent)} if traceparent else {}


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that masks secrets, bodies and parts of URLs."""
    return {key: _masked(key, value) for key, value in event.items()}


def redact_url(url: str) -> str:
    """The URL with a mask in place of user name, password and query, and without its fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{MASK}@{host}" if "@" in parts.netloc else host
    return urlunsplit((parts.scheme, netloc, parts.path, MASK if parts.query else "", ""))


def _masked(key: object, value: object) -> object:
    if value is not None and not isinstance(value, bool) and _is_secret(str(key)):
        return MASK
    match value:
        case str() if "://" in value:
            return _URL.sub(lambda match: redact_url(match[0]), value)
        case Mapping():
            return {inner_key: _masked(inner_key, inner) for inner_key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked("", inner) for inner in value]
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
    return value


def _is_secret(key: str) -> bool:
    """Compares whole words: `X-Auth-Token` and `response_body` are secret, `bodyguard` is not."""
    words = "_".join(_WORD.findall(key)).lower()
    return _SECRET_KEY.search(words) is not None


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What every line has comes first."""
    return {**{name: event.pop(name, "") for name in _HEAD}, **event}


def _as_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`time level message key=value …`. A traceback follows, indented: only events start at the margin."""
    fields = dict(event)
    head = [
        str(fields.pop("time", "")),
        str(fields.pop("level", "")),
        _one_line(fields.pop("message", "")),
    ]
    trace = fields.pop("exception", None)
    line = " ".join([*filter(None, head), *(f"{key}={_quoted(value)}" for key, value in fields.items())])
    return line if trace is None else line + "\n    " + str(trace).replace("\n", "\n    ")


def _one_line(value: Any) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def _quoted(value: Any) -> str:
    text = str(value)
    if _UNQUOTED.fullmatch(text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_one_line(escaped)}"'
