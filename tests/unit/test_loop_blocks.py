"""The detector of event loop blocks: what it reports, and what it leaves out."""

import asyncio
import time
from collections.abc import Callable, Iterator
from types import FunctionType

import pytest

from tests.loop_blocks import LIMIT_S, LOOP_BLOCKS


def spend(seconds: float) -> None:
    """Uses the processor for so long."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def block() -> None:
    """Uses the processor for too long, and until the detector has looked at the stack."""
    spend(LIMIT_S + 0.1)
    give_up_s = time.monotonic() + 60
    while LOOP_BLOCKS._sampled is not LOOP_BLOCKS._running and time.monotonic() < give_up_s:
        pass


def as_of_the_broker(function: Callable[..., object]) -> Callable[..., object]:
    """The function as if it were defined in a module of the broker."""
    assert isinstance(function, FunctionType)
    code = function.__code__.replace(co_filename="broker/services/slow.py")
    return FunctionType(code, function.__globals__)


@pytest.fixture(autouse=True)
def _no_blocks_left() -> Iterator[None]:
    yield
    LOOP_BLOCKS.take()


async def work(seconds: float) -> None:
    spend(seconds)


async def blocking_work() -> None:
    block()


async def test_a_task_of_the_broker_that_blocks_is_reported_with_its_stack() -> None:
    await asyncio.create_task(as_of_the_broker(blocking_work)())  # type: ignore[arg-type]
    (report,) = LOOP_BLOCKS.take()
    assert "coroutine object blocking_work" in report
    assert "in block" in report


async def test_a_callback_that_blocks_is_reported() -> None:
    asyncio.get_running_loop().call_soon(spend, LIMIT_S + 0.1)
    await asyncio.sleep(0.01)
    (report,) = LOOP_BLOCKS.take()
    assert "spend" in report


async def test_a_test_may_use_the_processor() -> None:
    spend(LIMIT_S + 0.05)
    await asyncio.create_task(work(LIMIT_S + 0.05))
    await asyncio.sleep(0)
    assert LOOP_BLOCKS.take() == []


async def test_time_without_the_processor_is_no_block() -> None:
    asyncio.get_running_loop().call_soon(time.sleep, LIMIT_S + 0.05)
    await asyncio.sleep(0.01)
    assert LOOP_BLOCKS.take() == []
