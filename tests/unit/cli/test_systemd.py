"""systemd is notified by a datagram, if it asks for one."""

import socket
from pathlib import Path

import pytest
import structlog

from broker.cli.systemd import READY, STOPPING, notify


def test_states_arrive_at_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify(READY)
        notify(STOPPING)
        assert [receiving.recv(64), receiving.recv(64)] == [b"READY=1", b"STOPPING=1"]


def test_nothing_is_sent_unless_asked_for_and_a_missing_socket_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as logged:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        notify(READY)
        assert logged == []
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
        notify(READY)
    assert [line["event"] for line in logged] == ["systemd not notified"]
