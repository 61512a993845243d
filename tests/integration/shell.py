"""A command as its user sees it: a process, and the lines it prints while it runs."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

BROKER = [sys.executable, "-m", "broker"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without its broker settings, and with those given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BROKER_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "120", **settings}


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


def run(*arguments: str, timeout_s: float = 50.0, cwd: Path | None = None, **settings: str) -> Finished:
    done = subprocess.run(
        [*BROKER, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
        env=clean_environment(**settings),
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Process:
    """A command that runs until it is told to stop; its output is kept line by line."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def line_with(self, text: str, timeout_s: float = 30.0) -> str:
        """The first line, from now on or before, that holds `text`."""
        for line in self.lines:
            if text in line:
                return line
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                following = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                following = None
            if following is None:
                raise AssertionError(f"no line with {text!r} in:\n{''.join(self.lines)}")
            self.lines.append(following)
            if text in following:
                return following

    def drain(self) -> list[str]:
        """All lines, after it has ended."""
        while (line := self._queue.get(timeout=10)) is not None:
            self.lines.append(line)
        return self.lines

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def end(self) -> None:
        """Whatever is left of it and of what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def process(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Process]:
    one = Process(command, environment)
    try:
        yield one
    finally:
        one.end()


def answers(url: str) -> bool:
    with contextlib.suppress(URLError, OSError), urlopen(url, timeout=2) as response:  # noqa: S310 our own URLs
        return bool(response.status == 200)
    return False


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Looks again and again; another process sets no event."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        pause.wait(0.03)
