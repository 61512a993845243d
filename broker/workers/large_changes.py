"""Evaluates large changes in a thread, so that the other tasks of the matcher's process run meanwhile."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from broker.matching.states import is_large
from broker.model.change import Change

P = ParamSpec("P")
T = TypeVar("T")


async def run_aside(change: Change, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the function, in a thread if the change is large. The caller keeps what it reads as it is
    meanwhile.
    """
    if is_large(change):
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)
