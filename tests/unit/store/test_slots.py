"""Which slot a command's keys are in, as the client library and the scripts' callers spell it; nothing of two
slots is ever sent.
"""

from typing import Any

import pytest
from redis.crc import key_slot

from broker.store.slots import Topology, keys_of, node_address, slot_of


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (("PING",), []),
        (("TIME",), []),
        (("PUBLISH", "broker:wake", "3"), []),
        (("HGET", "{s01}:sub:a", "v"), ["{s01}:sub:a"]),
        (("XINFO", "GROUPS", "{p01}:changes"), ["{p01}:changes"]),
        (("MGET", "{p01}:a", "{p01}:b"), ["{p01}:a", "{p01}:b"]),
        (("EVALSHA", "digest", 2, "{p01}:a", "{p01}:b", "argument"), ["{p01}:a", "{p01}:b"]),
        (("XREAD", "COUNT", 5, "STREAMS", "{s01}:r", "0-0"), ["{s01}:r"]),
        (
            ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "{p01}:x", "{p01}:y", ">", ">"),
            ["{p01}:x", "{p01}:y"],
        ),
    ],
)
def test_the_keys_of_a_command_are_found_where_they_stand(command: tuple[Any, ...], keys: list[str]) -> None:
    assert list(keys_of(command)) == keys


def test_a_command_is_in_the_slot_of_its_tag() -> None:
    assert slot_of(("MGET", "{p01}:a", "{p01}:b")) == key_slot(b"p01")
    assert slot_of(("PING",)) is None


@pytest.mark.parametrize(
    "command",
    [
        ("MGET", "{p01}:a", "{p02}:a"),
        ("EVALSHA", "digest", 2, "{p01}:a", "{s01}:b"),
        ("XREAD", "STREAMS", "{s01}:r", "{s02}:r", "0", "0"),
    ],
)
def test_a_command_of_several_slots_is_refused_before_it_is_sent(command: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="touches 2 hash slots"):
        slot_of(command)


def test_a_node_without_a_host_of_its_own_is_where_the_asked_one_is() -> None:
    assert node_address(b"", 7001, ("10.0.0.1", 7000)) == ("10.0.0.1", 7001)
    assert node_address(None, 7001, ("10.0.0.1", 7000)) == ("10.0.0.1", 7001)
    assert node_address(b"10.0.0.2", 7001, ("10.0.0.1", 7000)) == ("10.0.0.2", 7001)


def test_a_redirection_is_remembered_for_its_slot_alone() -> None:
    def nobody(_: object) -> Any:
        raise AssertionError("nobody is asked")

    topology = Topology([("10.0.0.1", 7000)], nobody)
    topology.assign(5, ("10.0.0.2", 7000))
    assert topology.primary(5) == ("10.0.0.2", 7000)
    assert topology.primary(6) is None
    assert topology.uncovered == 16_383
