"""Tracebacks for the log, without the texts of the errors: those may quote what was being read, such as an
element of a resource. The places in the code and the types of the errors remain.
"""

import traceback
from collections.abc import Iterator

from structlog.typing import ExcInfo


def format_traceback(exc_info: ExcInfo) -> str:
    """The errors that led to this one first, as Python writes tracebacks."""
    return "\n".join(_lines(exc_info[1], set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _lines(cause, seen)
        yield "which led to:"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        for frame in traceback.format_tb(error.__traceback__):
            yield frame.rstrip("\n")
    yield type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from (f"  {line}" for line in _lines(inner, seen))
