"""Pages for what goes wrong, in plain words: what happened, and what to do next."""

from collections.abc import Mapping

import structlog

from broker.console.page import View
from broker.errors import BrokerError, KeysUnavailable, RequestError, StoreUnavailable
from broker.services.http_status import STATUS
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
_TITLES: Mapping[int, str] = {
    400: "This was not understood",
    401: "You are not logged in",
    403: "You may not do this",
    404: "This does not exist",
    405: "This can't be done here",
    409: "Something has changed meanwhile",
    410: "This was deleted",
    412: "Something has changed meanwhile",
    413: "This is too large",
    415: "This format is not read here",
    422: "This is not valid",
    429: "Too many requests",
    500: "The broker failed on this request",
    503: "The broker can't do this at the moment",
}


def failure_view(error: Exception, path: str) -> View:
    """The page for an error. What is unexpected goes to the log, and the page says nothing of it."""
    match error:
        case RequestError():
            return _view(STATUS[type(error)], [issue.text for issue in error.issues])
        case StoreUnavailable():
            metrics.store_errors.inc()
            _log.warning("store unavailable", path=path, error=str(error))
            return _view(503, [f"The store does not answer: {error}. Nothing was changed. Try again."])
        case KeysUnavailable() | BrokerError():
            _log.warning("request failed", path=path, error=str(error))
            return _view(503, [str(error)])
    _log.error("request failed", path=path, exc_info=error)
    return _view(500, ["Try again. If it fails again, report it with the time; the log has the reason."])


def status_view(status: int, text: str) -> View:
    """The page for a status."""
    return _view(status, [text])


def _view(status: int, texts: list[str]) -> View:
    title = _TITLES.get(status, "This can't be done")
    return View("failure.html", {"title": title, "texts": texts, "code": status}, status)
