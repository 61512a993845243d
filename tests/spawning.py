"""Starts `fhir-broker` processes quickly: a server that has imported the broker forks them.

The imports cost most of the processor time of a start. `Process` has the methods of `subprocess.Popen` that
tests use. `tests/fork_server.py` is the server; each process of pytest has one, from its first spawn on.

Where the server cannot work (no Linux) or would not do (coverage is measured, or a program such as faketime
starts the broker), the broker is started as any program.
"""

import atexit
import ctypes
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from tests.served_loop_blocks import REPORTED_BLOCKS

ROOT = Path(__file__).resolve().parents[1]
_MEASURED = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class Process(Protocol):
    """What tests do with a process."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether brokers in this environment are forked from a server that has everything imported."""
    return sys.platform == "linux" and not any(name in env for name in _MEASURED)


def spawn_broker(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    stdout: IO[bytes],
    stderr: IO[bytes],
    prefix: Sequence[str] = (),
) -> Process:
    """`fhir-broker ARGUMENTS` in a session of its own. On Linux the kernel kills it when the test process
    dies.

    `prefix` is a program that starts the broker, with its arguments.
    """
    if prefix or not can_fork(env):
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "broker", *arguments],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509 one system call, looked up before the fork
        )
    return _server().spawn(arguments, env, cwd, stdout, stderr)


def run_broker(
    *arguments: str, env: Mapping[str, str], cwd: Path = ROOT, timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    """Runs `fhir-broker ARGUMENTS` until it exits. Raises `subprocess.TimeoutExpired`."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = spawn_broker(arguments, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        texts = []
        for output in (stdout, stderr):
            output.seek(0)
            texts.append(output.read().decode())
    return subprocess.CompletedProcess(["fhir-broker", *arguments], code, *texts)


class ForkedProcess:
    """A process that the server has forked. The server is its parent and reports its exit code."""

    def __init__(self, server: "_Server", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._descriptor = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["fhir-broker"], timeout or 0)
        return code

    def _exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._descriptor, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                return None
            with self._lock:
                if self.returncode is None:
                    self.returncode = self._server.exit_code(self.pid)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        # the pid stays taken until the exit code has been read
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._descriptor)


class _Server:
    """The test's side of the server."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        environment = {name: v for name, v in os.environ.items() if not name.startswith("BROKER_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", str(other.fileno())],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[other.fileno()],
            start_new_session=True,
        )
        other.close()
        atexit.register(self._end)

    def _end(self) -> None:
        """The server and its processes end when this socket closes."""
        self._socket.close()
        self._process.wait()

    def spawn(
        self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, *outputs: IO[bytes]
    ) -> ForkedProcess:
        request = {
            "arguments": list(arguments),
            "env": dict(env),
            "cwd": str(cwd),
            "blocks": REPORTED_BLOCKS.file,
            "test": os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0],
        }
        return ForkedProcess(self, self._ask(request, [output.fileno() for output in outputs]))

    def exit_code(self, pid: int) -> int:
        return self._ask({"ended": pid}, [])

    def _ask(self, request: Mapping[str, object], descriptors: list[int]) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            reply = self._socket.recv(64)
        if not reply:
            raise RuntimeError("the fork server has ended")
        return int(reply)


@functools.cache
def _server() -> _Server:
    return _Server()


def dies_with_parent() -> "functools.partial[int] | None":
    """A `preexec_fn`: on Linux the kernel kills the child when its parent dies."""
    if sys.platform != "linux":
        return None
    return functools.partial(ctypes.CDLL(None).prctl, 1, signal.SIGKILL)
