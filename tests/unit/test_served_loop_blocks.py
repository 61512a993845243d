"""The detector of event loop blocks in brokers that are processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.loop_blocks import LIMIT_S
from tests.served_loop_blocks import ReportedBlocks

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import asyncio, sys, time, uvloop
from tests.served_loop_blocks import watch

def spend(seconds):
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass

async def work(seconds):
    await asyncio.sleep(0)
    spend(seconds)

async def main(long_s, short_s):
    await asyncio.create_task(work(long_s))
    asyncio.get_running_loop().call_soon(spend, long_s)
    asyncio.get_running_loop().call_soon(time.sleep, long_s)
    await asyncio.create_task(work(short_s))

command, file, long_s, short_s = sys.argv[1:]
watch([command], file, "tests/test_a.py::test_a")
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main(float(long_s), float(short_s)))
"""


@pytest.fixture
def reported() -> ReportedBlocks:
    return ReportedBlocks()


def run_as(command: str, reported: ReportedBlocks) -> None:
    arguments = [command, reported.file, str(LIMIT_S + 1), str(LIMIT_S / 5)]
    subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], cwd=ROOT, check=True, timeout=120)


def test_what_computes_for_too_long_in_a_server_is_reported_once(reported: ReportedBlocks) -> None:
    assert reported.take() == []
    run_as("serve", reported)
    task, callback = reported.take()
    assert "`fhir-broker serve`" in task
    assert "started by tests/test_a.py::test_a" in task
    assert "coroutine object work" in task
    assert "in spend" in task, "the stack"
    assert "function spend" in callback
    assert reported.take() == []


def test_commands_that_are_no_servers_are_not_watched(reported: ReportedBlocks) -> None:
    run_as("topics", reported)
    assert reported.take() == []
