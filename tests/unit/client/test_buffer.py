"""The offline buffer: order, bounds, messages set aside, one owner, and what survives a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.client import BufferFull, BufferInUse, BufferUnusable, OfflineBuffer, reading
from broker.client.buffer import Refused
from broker.client.message import Message
from tests.spawning import ROOT, dies_with_parent


def numbered(*numbers: int) -> list[Message]:
    return [reading({"n": n}, key=f"key-{n}") for n in numbers]


def keys_of(buffer: OfflineBuffer) -> list[str]:
    return [each.message.key for each in buffer.first(buffer.counts().waiting)]


def test_messages_leave_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    with OfflineBuffer(tmp_path / "b") as buffer:
        buffer.append(*numbered(1, 2))
        buffer.append(*numbered(3))
        assert keys_of(buffer) == ["key-1", "key-2", "key-3"]
        buffer.settle(buffer.first(1))
        assert keys_of(buffer) == ["key-2", "key-3"]


def test_a_message_comes_back_as_it_was_added(tmp_path: Path) -> None:
    message = Message("PUT", "r4/Patient/7", "application/fhir+json", b'{"a": "\xc3\xa9\x00"}', "k")
    with OfflineBuffer(tmp_path / "b") as buffer:
        buffer.append(message)
    with OfflineBuffer(tmp_path / "b") as buffer:
        assert buffer.first(1)[0].message == message


def test_a_refused_message_is_set_aside_and_can_be_sent_again_or_discarded(tmp_path: Path) -> None:
    with OfflineBuffer(tmp_path / "b") as buffer:
        buffer.append(*numbered(1, 2))
        first = buffer.first(1)[0]
        buffer.settle([], [Refused(first.number, first.message, 422, "no code")])
        assert keys_of(buffer) == ["key-2"]
        assert [(each.message.key, each.status, each.reason) for each in buffer.refused()] == [
            ("key-1", 422, "no code")
        ]
        assert buffer.redrive() == 1
        assert keys_of(buffer) == ["key-2", "key-1"]
        again = buffer.first(2)[1]
        buffer.settle([], [Refused(again.number, again.message, 422, "no code")])
        assert buffer.discard() == 1
        assert buffer.counts()._replace(bytes=0) == (2, 0, 2, 1, 0, 0)


def test_a_full_buffer_takes_nothing_of_an_append_and_has_room_again_later(tmp_path: Path) -> None:
    with OfflineBuffer(tmp_path / "b", max_messages=2) as buffer:
        buffer.append(*numbered(1))
        with pytest.raises(BufferFull, match="holds 1 messages"):
            buffer.append(*numbered(2, 3))
        assert keys_of(buffer) == ["key-1"]
        buffer.settle(buffer.first(1))
        buffer.append(*numbered(2, 3))
        assert keys_of(buffer) == ["key-2", "key-3"]


def test_the_bytes_are_bounded_and_counted_again_when_the_file_is_opened(tmp_path: Path) -> None:
    size = len(numbered(1)[0].body)
    with OfflineBuffer(tmp_path / "b", max_bytes=2 * size) as buffer:
        buffer.append(*numbered(1))
        first = buffer.first(1)[0]
        buffer.settle([], [Refused(first.number, first.message, 400, "")])
    with OfflineBuffer(tmp_path / "b", max_bytes=2 * size) as buffer:
        buffer.append(*numbered(2))
        with pytest.raises(BufferFull):
            buffer.append(*numbered(3))
        assert buffer.counts().bytes == 2 * size


def test_a_buffer_has_one_owner(tmp_path: Path) -> None:
    with OfflineBuffer(tmp_path / "b"), pytest.raises(BufferInUse, match="Another process uses"):
        OfflineBuffer(tmp_path / "b")
    OfflineBuffer(tmp_path / "b").close()


def test_a_file_that_is_no_buffer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(BufferUnusable, match="Move the file away"):
        OfflineBuffer(tmp_path / "b")
    with pytest.raises(BufferUnusable, match="Name a file"):
        OfflineBuffer(tmp_path / "missing" / "b")


_WRITER = """
import itertools, sys
from pathlib import Path
from broker.client import OfflineBuffer, reading

buffer = OfflineBuffer(Path(sys.argv[1]))
for n in itertools.count():
    buffer.append(reading({"n": n}, key=f"key-{n}"))
    print(n, flush=True)
"""


def test_what_append_returned_for_survives_a_kill(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "b")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        preexec_fn=dies_with_parent(),  # noqa: PLW1509 one system call, looked up before the fork
    )
    assert writer.stdout is not None
    with writer.stdout as output:
        for _ in range(25):
            output.readline()
        os.kill(writer.pid, signal.SIGKILL)
        reported = 25 + len(output.read().split())
    writer.wait()
    with OfflineBuffer(tmp_path / "b") as buffer:
        kept = keys_of(buffer)
    # one more may be there: killed after the commit and before the report
    assert kept in ([f"key-{n}" for n in range(reported)], [f"key-{n}" for n in range(reported + 1)])
