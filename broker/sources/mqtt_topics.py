"""Which topics the MQTT source reads, and what their messages are: the file BROKER_MQTT_TOPICS.

[[topic]]
filter = "$share/broker/ward/+/vitals"
format = "json"
device = "urn:example:bed|{2}"
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.errors import ConfigurationError, Malformed
from broker.ingest.readings.formats import split_body
from broker.ingest.readings.values import CSV, GATT, JSON, RawReading
from broker.model.audit import Requester
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.toml_tables import read_tables

MQTT = Requester("mqtt")
"""Who writes what comes by MQTT: the server does not say which device or gateway it was."""
_PARAMETERS = ("device", "patient", "gateway", "offset")
_LEVEL = re.compile(r"\{(\d+)\}")
_SHARED = re.compile(r"\$share/([^/+#]+)/(.+)", re.DOTALL)
_FORMATS = re.compile(rf"{JSON}|{CSV}|{GATT}[0-9A-Fa-f]{{4}}")


@dataclass(frozen=True, slots=True)
class TopicRule:
    """Messages of the topics that match `filter`. `parameters` are those of `RawReading`; `{2}` stands for
    the second level of the topic. With `has_envelope`, the payload that is mapped is an object of the
    message: `topic`, `levels` and `payload`.
    """

    filter: str
    format: str = JSON
    tenant: Tenant = DEFAULT_TENANT
    qos: int = 1
    has_envelope: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)

    def matches(self, topic: str) -> bool:
        """Whether a server sends the topic to a subscriber of the filter (MQTT 5, 4.7)."""
        shared = _SHARED.fullmatch(self.filter)
        wanted = (shared[2] if shared else self.filter).split("/")
        levels = topic.split("/")
        if topic.startswith("$") and wanted[0] in {"+", "#"}:
            return False
        for n, level in enumerate(wanted):
            if level == "#":
                return True
            if n >= len(levels) or level not in {"+", levels[n]}:
                return False
        return len(wanted) == len(levels)

    def readings(
        self, topic: str, payload: bytes, key: str, received: datetime, traceparent: str = ""
    ) -> list[RawReading]:
        """The payloads of a message. Their keys, if the publisher gave none, are made of what it says: a
        message that the server delivers again is the same readings also where they have no time.
        """
        levels = topic.split("/")
        parameters = {name: _filled(text, levels) for name, text in self.parameters.items()}
        key = key or hashlib.blake2b(topic.encode() + b"\0" + payload, digest_size=16).hexdigest()
        whole = RawReading(
            self.tenant,
            payload,
            self.format,
            received,
            f"mqtt:{key}",
            MQTT,
            parameters,
            traceparent,
            keeps_refused=True,
        )
        if self.has_envelope:
            return [whole._replace(content=_enveloped(topic, levels, payload))]
        try:
            contents = split_body(payload, self.format)
        except Malformed:  # nobody hears the answer: it is quarantined as it came, with the reason
            return [whole]
        if len(contents) == 1:
            return [whole._replace(content=contents[0])]
        return [whole._replace(content=each, key=f"{whole.key}#{n}") for n, each in enumerate(contents)]


class TopicRules:
    """The rules in the order of the file: the first that matches a topic counts."""

    def __init__(self, rules: Sequence[TopicRule]) -> None:
        self._rules = rules

    @property
    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """The filters with their QoS."""
        return [(rule.filter, rule.qos) for rule in self._rules]

    def find(self, topic: str) -> TopicRule | None:
        """None for a topic of a filter that an earlier process subscribed to, and that is in no rule."""
        return next((rule for rule in self._rules if rule.matches(topic)), None)

    @classmethod
    def read(cls, path: Path) -> "TopicRules":
        """Raises `ConfigurationError`, one line that names the table and the member."""
        listed = read_tables(path, "BROKER_MQTT_TOPICS", "topic")
        if not listed:
            raise ConfigurationError(f"{path}: write tables [[topic]]: without one nothing is read.")
        rules: list[TopicRule] = []
        for number, members in enumerate(listed, 1):
            try:
                rules.append(_rule(members))
            except ValueError as error:
                raise ConfigurationError(f"{path}: topic {number}: {error}") from error
        filters = [rule.filter for rule in rules]
        for number, name in enumerate(filters, 1):
            if filters.index(name) != number - 1:
                raise ConfigurationError(f"{path}: topic {number}: another one has the filter {name!r}.")
        return cls(rules)


def _rule(members: Mapping[str, Any]) -> TopicRule:
    """Raises `ValueError` with what to write instead."""
    if not isinstance(members, Mapping):
        raise ValueError("write a table [[topic]].")  # noqa: TRY004 one kind of error for the file
    allowed = ("filter", "format", "tenant", "qos", "envelope", *_PARAMETERS)
    for name in members:
        if name not in allowed:
            raise ValueError(f"{name!r} is unknown. The members are {', '.join(allowed)}.")
    rule = TopicRule(
        _text(members, "filter", ""),
        _text(members, "format", JSON),
        Tenant(_text(members, "tenant", DEFAULT_TENANT)),
        members.get("qos", 1),
        _flag(members, "envelope"),
        {name: _text(members, name, "") for name in _PARAMETERS if name in members},
    )
    _check(rule)
    return rule


def _text(members: Mapping[str, Any], name: str, default: str) -> str:
    text = members.get(name, default)
    if not isinstance(text, str):
        raise ValueError(f"{name} is no text.")  # noqa: TRY004 one kind of error for the file
    return text


def _flag(members: Mapping[str, Any], name: str) -> bool:
    flag = members.get(name, False)
    if not isinstance(flag, bool):
        raise ValueError(f"{name} is true or false.")  # noqa: TRY004 as above
    return flag


def _check(rule: TopicRule) -> None:
    shared = _SHARED.fullmatch(rule.filter)
    levels = (shared[2] if shared else rule.filter).split("/")
    is_wrong = any(("+" in level or "#" in level) and level not in {"+", "#"} for level in levels)
    if not rule.filter or is_wrong or "#" in levels[:-1] or "\0" in rule.filter:
        raise ValueError(f"filter {rule.filter!r} is no topic filter; one is like 'ward/+/vitals'.")
    if rule.filter.startswith("$share/") and not shared:
        raise ValueError(f"filter {rule.filter!r}: a shared one is like '$share/group/ward/+/vitals'.")
    if not _FORMATS.fullmatch(rule.format):
        raise ValueError(f"format {rule.format!r} is unknown. Write json, csv, or gatt: and four digits.")
    if not TENANT_PATTERN.fullmatch(rule.tenant):
        raise ValueError(f"tenant {rule.tenant!r} is no name of a tenant.")
    if type(rule.qos) is not int or rule.qos not in {0, 1}:
        raise ValueError("qos is 0 or 1; what is published with 2 arrives with 1.")
    if rule.has_envelope and rule.format != JSON:
        raise ValueError("envelope is for the format json only.")
    for name, text in rule.parameters.items():
        for number in _LEVEL.findall(text):
            if not 1 <= int(number) <= len(levels) and levels[-1] != "#":
                raise ValueError(f"{name} names the level {number} of the topic, which has {len(levels)}.")


def _filled(text: str, levels: Sequence[str]) -> str:
    """The text with the levels in place of their numbers; a level that is not there is empty."""

    def level(match: re.Match[str]) -> str:
        number = int(match[1])
        return levels[number - 1] if 1 <= number <= len(levels) else ""

    return _LEVEL.sub(level, text)


def _enveloped(topic: str, levels: Sequence[str], payload: bytes) -> bytes:
    """JSON with the payload in it as it is: one that is no JSON makes a whole that is none."""
    head = json.dumps({"topic": topic, "levels": list(levels)}).encode()
    return head[:-1] + b', "payload": ' + payload + b"}"
