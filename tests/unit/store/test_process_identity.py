"""A process has ended for certain only if this machine can tell."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from broker.store.process_identity import ProcessIdentity, own_identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="identities need /proc")


def test_a_running_process_has_not_ended() -> None:
    assert own_identity().has_ended() is False


def test_a_process_with_another_start_time_has_ended() -> None:
    assert replace(own_identity(), started=own_identity().started + 1).has_ended() is True


def test_a_process_that_exited_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    identity = replace(own_identity(), pid=child.pid, started=int(stat[19]))
    assert identity.has_ended() is False
    child.communicate()
    assert identity.has_ended() is True


def test_a_process_of_another_machine_or_container_is_not_judged() -> None:
    ended = replace(own_identity(), started=1)
    assert ended.has_ended() is True
    assert replace(ended, boot="other").has_ended() is False
    assert replace(ended, namespace="pid:[1]").has_ended() is False


def test_nothing_is_proved_without_a_boot_id() -> None:
    assert ProcessIdentity(1, 0, "", "").has_ended() is False


def test_an_identity_survives_a_dictionary() -> None:
    assert ProcessIdentity.from_dict(own_identity().as_dict()) == own_identity()
