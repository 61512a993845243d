"""The resource of a dead letter is for who may read it; what a gateway or device sent is for operators."""

from typing import Any, cast

import pytest

from broker.errors import Forbidden, NotFound
from broker.model.change import DEFAULT_TENANT, VersionKey
from broker.model.principal import Principal
from broker.model.resource import Resource
from broker.model.scopes import parse_scopes
from broker.services.changes import StoredResource
from broker.services.dead_letter_payloads import DeadLetterPayloads
from broker.services.dead_letters import Page
from broker.store.dead_letter_id import DeadChangeId, DeadLetterKind, DeadReadingId
from broker.store.dead_letters import DeadLetter

FOCUS = VersionKey(DEFAULT_TENANT, "Observation", "o", 3)
CHANGE = DeadLetter(
    DeadChangeId(0, "1-0"), DeadLetterKind.CHANGE, DEFAULT_TENANT, 1, "ValueError", focus=FOCUS
)
READING = DeadLetter(
    DeadReadingId("1-0"),
    DeadLetterKind.READING,
    DEFAULT_TENANT,
    1,
    "no-mapping: none",
    entry={b"content": b'{"hr":72.50}', b"format": b"json"},
)


class Stored:
    """Dead letters and resources."""

    def __init__(self, letter: DeadLetter) -> None:
        self.letter = letter

    async def list(self, *_: Any) -> Page:
        return Page([self.letter], "")

    async def read_version(self, *asked: Any) -> StoredResource:
        assert asked[2:] == ("Observation", "o", "3")
        return StoredResource(cast("Any", None), Resource(b'{"resourceType":"Observation"}'))


def payloads(letter: DeadLetter) -> DeadLetterPayloads:
    stored = Stored(letter)
    return DeadLetterPayloads(cast("Any", stored), cast("Any", stored))


def operator(scope: str) -> Principal:
    return Principal("o", DEFAULT_TENANT, parse_scopes(scope), frozenset({"operator"}))


async def test_a_resource_needs_the_scope_for_its_type() -> None:
    with pytest.raises(Forbidden) as refused:
        await payloads(CHANGE).read(operator("system/Patient.r"), CHANGE.id)
    assert "system/Observation.r" in str(refused.value)
    shown = await payloads(CHANGE).read(operator("system/Observation.r"), CHANGE.id)
    assert shown.as_trial is None
    assert shown.fields == [("Observation/o", '{\n  "resourceType": "Observation"\n}')]


async def test_the_payload_of_a_device_is_for_operators_and_keeps_its_digits() -> None:
    shown = await payloads(READING).read(operator(""), READING.id)
    assert dict(shown.fields) == {"content": '{\n  "hr": 72.50\n}', "format": "json"}
    assert shown.as_trial == {"payload": '{\n  "hr": 72.50\n}', "format": "json"}


async def test_nothing_is_left_of_what_is_no_longer_stored() -> None:
    empty = DeadLetter(DeadChangeId(0, "1-0"), DeadLetterKind.CHANGE, DEFAULT_TENANT, 1, "x", is_kept=False)
    with pytest.raises(NotFound):
        await payloads(empty).read(operator(""), empty.id)
