"""Brokers that tests spawn by a fork are like those that a command line starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.commands import Command, environment
from tests.ports import free_port
from tests.spawning import ROOT, ForkedProcess, can_fork, run_broker


def started(*arguments: str, folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The same command, started as a program."""
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        env=environment(**settings) | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "code"),
    [
        (["topics", "check", "topics"], {}, 0),
        (["serve"], {"port": "eighty"}, 2),
    ],
)
def test_a_forked_broker_says_the_same_as_one_that_was_started(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], code: int
) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "a.json").write_bytes((ROOT / "topics" / "vital-signs.json").read_bytes())
    forked = run_broker(*arguments, env=environment(**settings), cwd=tmp_path, timeout_s=240)
    other = started(*arguments, folder=tmp_path, **settings)
    assert (forked.returncode, forked.stdout, forked.stderr) == (code, other.stdout, other.stderr)
    assert other.returncode == code


async def test_a_forked_broker_has_a_session_and_is_reaped(tmp_path: Path) -> None:
    port = free_port()
    with Command.of_broker(tmp_path, "serve", port=str(port), data_dir=str(tmp_path / "data")) as command:
        await command.until_ready(f"http://127.0.0.1:{port}")
        assert os.getsid(command.pid) == command.pid
        assert isinstance(command.process, ForkedProcess) or not can_fork(environment())
        assert await command.stop(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(command.pid, 0)
