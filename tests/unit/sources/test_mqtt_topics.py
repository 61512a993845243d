"""The file of topics: what it refuses, which rule a topic has, and what a message becomes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.ingest.readings.values import RawReading
from broker.sources.mqtt_topics import TopicRule, TopicRules

AT = datetime(2025, 3, 1, 8, tzinfo=UTC)


def one(rule: TopicRule, topic: str, payload: bytes) -> RawReading:
    (reading,) = rule.readings(topic, payload, "", AT)
    return reading


def test_the_payloads_of_a_message_are_readings_of_their_own_with_keys_of_their_own() -> None:
    rule = TopicRule("a")
    first, second = rule.readings("a", b'[{"n": 1.0}, {"n": 2}]', "", AT)
    assert (first.content, second.content) == (b'{"n": 1.0}', b'{"n": 2}')
    assert first.key != second.key
    assert [first, second] == rule.readings("a", b'[{"n": 1.0}, {"n": 2}]', "", AT), "the same when repeated"
    assert one(rule, "b", b"{}").key != one(rule, "a", b"{}").key
    assert one(rule, "a", b"[1, ").content == b"[1, "
    assert rule.readings("a", b"[]", "", AT) == []
    lines = TopicRule("a", format="csv").readings("a", b"x,y\n1,2\n3,4\n", "", AT)
    assert len(lines) == 2
    assert all(each.keeps_refused for each in (first, *lines, one(rule, "a", b"[1, "))), "nobody hears of it"


def test_each_reading_of_a_message_carries_the_trace_of_its_publisher() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    readings = TopicRule("a").readings("a", b'[{"n": 1.0}, {"n": 2}]', "", AT, trace)
    assert [each.trace for each in readings] == [trace, trace]


@pytest.mark.parametrize(
    ("name", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "/b", True),
        ("+", "/b", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$share/group/a/+", "a/b", True),
        ("$share/group/a/+", "group/a/b", False),
        ("$share/group/#", "a/b", True),
    ],
)
def test_which_topics_a_filter_matches(name: str, topic: str, matches: bool) -> None:
    assert TopicRule(name).matches(topic) is matches


def test_a_message_becomes_a_reading_of_its_rule(tmp_path: Path) -> None:
    (tmp_path / "topics.toml").write_text(
        """
        [[topic]]
        filter = "$share/broker/ward/+/bp"
        format = "gatt:2A35"
        tenant = "north"
        device = "urn:example:bed|{2}"

        [[topic]]
        filter = "ward/#"
        qos = 0
        envelope = true
        gateway = "urn:example:gateway|{4}"
        """
    )
    rules = TopicRules.read(tmp_path / "topics.toml")
    assert rules.subscriptions == [("$share/broker/ward/+/bp", 1), ("ward/#", 0)]
    rule = rules.find("ward/7/bp")
    assert rule is not None
    (reading,) = rule.readings("ward/7/bp", b"\x00\x01", "k", AT)
    assert (reading.tenant, reading.content, reading.format, reading.received) == (
        "north",
        b"\x00\x01",
        "gatt:2A35",
        AT,
    )
    assert reading.key == "mqtt:k"
    assert reading.parameters == {"device": "urn:example:bed|7"}
    other = rules.find("ward/7/hr")
    assert other is not None
    enveloped = one(other, "ward/7/hr", b'{"hr": 72.0}').content
    assert json.loads(enveloped) == {
        "topic": "ward/7/hr",
        "levels": ["ward", "7", "hr"],
        "payload": {"hr": 72.0},
    }
    assert b"72.0" in enveloped
    assert one(other, "ward/7/hr", b"{}").parameters == {"gateway": "urn:example:gateway|"}
    assert one(other, "ward/7/a/b", b"{}").parameters == {"gateway": "urn:example:gateway|b"}
    with pytest.raises(ValueError):
        json.loads(one(other, "ward/7/hr", b"no JSON").content)
    assert rules.find("other") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "write tables"),
        ("[[topic]]\nfilter = 'a'\n[other]\n", "write tables"),
        ("topic = 7", "write tables"),
        ("topic = [7]", "topic 1: write a table"),
        ("no toml", "is not TOML"),
        ("[[topic]]\nfilter = 7", "filter is no text"),
        ("[[topic]]\nfilter = ''", "no topic filter"),
        ("[[topic]]\nfilter = 'a/#/b'", "no topic filter"),
        ("[[topic]]\nfilter = 'a+/b'", "no topic filter"),
        ("[[topic]]\nfilter = '$share/x'", "a shared one is like"),
        ("[[topic]]\nfilter = 'a'\nformat = 'xml'", "format 'xml' is unknown"),
        ("[[topic]]\nfilter = 'a'\nformat = 'gatt:2A'", "format 'gatt:2A' is unknown"),
        ("[[topic]]\nfilter = 'a'\ntenant = 'a b'", "no name of a tenant"),
        ("[[topic]]\nfilter = 'a'\nqos = 2", "qos is 0 or 1"),
        ("[[topic]]\nfilter = 'a'\nqos = true", "qos is 0 or 1"),
        ("[[topic]]\nfilter = 'a'\nenvelope = 1", "envelope is true or false"),
        ("[[topic]]\nfilter = 'a'\nformat = 'csv'\nenvelope = true", "envelope is for the format json only"),
        ("[[topic]]\nfilter = 'a/+'\ndevice = 'x|{3}'", "device names the level 3 of the topic, which has 2"),
        ("[[topic]]\nfilter = 'a'\nfilters = 'b'", "'filters' is unknown"),
        ("[[topic]]\nfilter = 'a'\n[[topic]]\nfilter = 'a'", "topic 2: another one has the filter 'a'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "topics.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"topics\.toml") as refused:
        TopicRules.read(tmp_path / "topics.toml")
    assert problem in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"BROKER_MQTT_TOPICS=.* cannot be read"):
        TopicRules.read(tmp_path / "topics.toml")
