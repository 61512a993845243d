"""What is known of the HTTP request, or the entry of the inbox, that the current task is about: the row of
its route, and its trace.

`RequestLog` and `InboxIntake` begin it; the tables of routes name the row; the intake reads the trace, so
that every change has it, whichever part of the API made it.
"""

from contextvars import ContextVar

UNMATCHED = "unmatched"


class CurrentRequest:
    """`route` is the path of the row with its variables, such as `/{release}/{type}/{id}`."""

    __slots__ = ("route", "traceparent")

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent
        self.route = UNMATCHED


_current: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)


def begin(traceparent: str) -> CurrentRequest:
    """Each request and entry has a task of its own, so nobody ends it."""
    request = CurrentRequest(traceparent)
    _current.set(request)
    return request


def name_route(route: str) -> None:
    """The first name counts: entries of a Bundle have rows of their own."""
    request = _current.get()
    if request is not None and request.route == UNMATCHED:
        request.route = route


def traceparent() -> str:
    """'' without a request, or without a trace."""
    request = _current.get()
    return "" if request is None else request.traceparent
