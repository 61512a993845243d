"""Translates the client library's errors into the broker's own, and logs the end of an outage. Only the
connection modules use it.
"""

import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import structlog
from redis.exceptions import OutOfMemoryError, RedisError

from broker.errors import StoreFull, StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")
_log = structlog.get_logger(__name__)


class Watched(Protocol):
    """An object whose methods are `watched`."""

    is_failing: bool
    """Whether the last call that ended found that the store does not answer."""

    outages: int
    """How many calls found that."""


W = TypeVar("W", bound=Watched)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raises `StoreUnavailable` for an error of the client library and keeps it as the cause."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise _translation(error) from error


def translating(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """`translated` around a coroutine method, without the cost of a context manager."""

    @functools.wraps(method)
    async def wrapper(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except (RedisError, OSError) as error:
            raise _translation(error) from error

    return wrapper


def watched(
    method: Callable[Concatenate[W, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[W, P], Coroutine[Any, Any, R]]:
    """`translating`, and logs when the store answers again after an outage."""

    @functools.wraps(method)
    async def wrapper(self: W, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = await method(self, *args, **kwargs)
        except (RedisError, OSError) as error:
            translation = _translation(error)
            self.is_failing = not isinstance(translation, StoreFull)
            self.outages += self.is_failing
            raise translation from error
        if self.is_failing:
            self.is_failing = False
            _log.info("the store answers again")
        return result

    return wrapper


def _translation(error: Exception) -> StoreUnavailable:
    if isinstance(error, OutOfMemoryError):
        return StoreFull("the store is out of memory (its maxmemory is reached)")
    return StoreUnavailable(f"the store does not answer: {type(error).__name__}: {error}")
