"""Ids of dead letters: the text says the kind and the place, and nothing else is an id."""

import pytest

from broker.model.subscription import SubscriptionId
from broker.store.dead_letter_id import (
    DeadChangeId,
    DeadEventId,
    DeadInboxId,
    DeadLetterId,
    parse_dead_letter_id,
)

IDS: list[tuple[str, DeadLetterId]] = [
    ("change-3-1700000000000-0", DeadChangeId(3, "1700000000000-0")),
    ("event-a-b.c-12", DeadEventId(SubscriptionId("a-b.c"), 12)),
    ("inbox-1700000000000-7", DeadInboxId("1700000000000-7")),
]


@pytest.mark.parametrize(("text", "parsed"), IDS)
def test_an_id_is_read_as_it_is_written(text: str, parsed: DeadLetterId) -> None:
    assert parse_dead_letter_id(text) == parsed
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text", ["", "change-3", "change-3-x-0", "event-12", "inbox-1", "letter-1-1", "event-a/b-1"]
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert parse_dead_letter_id(text) is None


def test_the_position_orders_dead_letters_of_one_place() -> None:
    assert [parsed.position for _, parsed in IDS] == ["1700000000000-0", "12", "1700000000000-7"]
