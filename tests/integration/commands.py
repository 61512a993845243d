"""Runs `fhir-broker` as a user does: commands as processes, with their output and signals. Every wait has a
deadline.
"""

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.spawning import Process, run_broker, spawn_broker

START_S = 60.0
_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
REPOSITORY = Path(__file__).resolve().parents[2]
BROKER = "fhir-broker"


def environment(**settings: str) -> dict[str, str]:
    """The environment of this process with these BROKER settings and no others.

    Every process of a test uses the same numbers of partitions and shards.
    """
    chosen = {
        "egress_allow": "127.0.0.0/8",
        "retry_base": "50ms",
        "retry_max": "400ms",
        "partitions": "4",
        "shards": "4",
    } | settings
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    return inherited | {f"BROKER_{name.upper()}": value for name, value in chosen.items()}


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs `fhir-broker ARGUMENTS` and waits until it exits."""
    return run_broker(*arguments, env=environment(**settings), timeout_s=120)


def run_on_terminal(folder: Path, *arguments: str, columns: int) -> tuple[int, str]:
    """Runs `fhir-broker ARGUMENTS` on a terminal of that many columns; its exit code and what it shows there,
    without colors.
    """
    controller, terminal = pty.openpty()
    shown = bytearray()
    chosen = environment() | {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm"}
    with os.fdopen(terminal, "wb", buffering=0) as output:
        process = spawn_broker(arguments, env=chosen, cwd=folder, stdout=output, stderr=output)
    with contextlib.suppress(OSError):  # EIO: the process has closed the terminal
        while part := os.read(controller, 65_536):
            shown += part
    os.close(controller)
    text = _ESCAPE_CODE.sub("", shown.decode()).replace("\r\n", "\n")
    return process.wait(START_S), text


class Command:
    """A process that runs while it is entered, or until `stop`. Its output, of both streams, goes to one
    file.

    The command `fhir-broker ...` is spawned as `tests/spawning.py` describes, any other as a program.
    """

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str], cwd: Path = REPOSITORY) -> None:
        self._command = command
        self._log = log
        self._env = dict(env)
        self._cwd = cwd
        self.process: Process | None = None

    @classmethod
    def of_broker(cls, folder: Path, *arguments: str, **settings: str) -> "Command":
        """`fhir-broker ARGUMENTS`; its log file is named after them."""
        log = folder / (
            "-".join(argument.strip("-") for argument in arguments if "/" not in argument) + ".log"
        )
        return cls([BROKER, *arguments], log, environment(**settings))

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def spawn(self) -> Self:
        program, *arguments = self._command
        with self._log.open("ab") as log:
            if program == BROKER:
                self.process = spawn_broker(arguments, env=self._env, cwd=self._cwd, stdout=log, stderr=log)
            else:
                self.process = subprocess.Popen(
                    self._command,
                    env=self._env,
                    cwd=self._cwd,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        return self

    def __enter__(self) -> Self:
        return self.spawn()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _check_alive(self, waiting_for: str) -> None:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"exited with {code} before {waiting_for}: {self.output[-2000:]}"

    async def until_output(self, text: str, times: int = 1, timeout_s: float = START_S) -> str:
        """Waits until the output contains `text` this many times. The output."""
        assert self.process is not None
        code: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.output.count(text) < times and code is None:
                    await asyncio.sleep(0.02)
                    code = self.process.poll()  # before the output is read: it may write the text, and end
        has_ended = "" if code is None else f", exited with {code}"
        assert self.output.count(text) >= times, (
            f"no {text!r} within {timeout_s} s{has_ended}: {self.output[-2000:]}"
        )
        return self.output

    async def until_ready(self, base: str) -> None:
        """Waits until /readyz answers 200."""
        async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False, timeout=3) as client:
            while True:
                self._check_alive("ready")
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{base}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = START_S) -> int:
        """Sends the signal and waits for the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, timeout_s)

    def kill(self) -> None:
        """Kills the process if it still runs, and what a script has started."""
        if self.process is not None and self.process.poll() is None:
            if self._command[0] != BROKER:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
