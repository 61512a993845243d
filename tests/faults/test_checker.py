"""The checker finds each kind of broken promise, and nothing in a history where all were kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.history import (
    Answer,
    Fault,
    History,
    Lapsed,
    Posted,
    Record,
    Recovered,
    Redriven,
    Requested,
    Subscribed,
    Told,
)

ANA = Subscribed("s", ("ana",), 0)


def request(sequence: int, *, resource: str = "Observation/r", patient: str = "ana") -> Requested:
    return Requested(resource, sequence, patient, sequence, sequence + 1, Answer.ACKNOWLEDGED, sequence)


def told(number: int, sequence: int | None = None) -> Told:
    sequence = number if sequence is None else sequence
    return Told(number, "Observation/r", sequence, sequence, "ana", f"body {sequence}")


def post(*events: Told, answered: int = 200, kind: str = "event-notification") -> Posted:
    """A notification whose body follows from its events."""
    body = hashlib.sha256(repr(events).encode()).hexdigest()
    return Posted("s", kind, "active", "n", body, events, 10, answered, answered > 0)


def broken(*records: Record) -> dict[str, int]:
    return dict(check(History(list(records))).broken)


SENT: Sequence[Record] = (ANA, request(1), request(2), request(3))


def test_a_history_that_keeps_every_promise_is_good() -> None:
    verdict = check(
        History(
            [
                post(kind="handshake"),
                *SENT,
                request(1, resource="Observation/q", patient="ben"),
                post(told(1), answered=503),
                post(told(1)),
                post(told(2), told(3)),
                replace(request(4), answer=Answer.UNKNOWN),
                replace(request(5), answer=Answer.REFUSED),
                post(told(4)),
            ]
        )
    )
    assert verdict.is_good
    assert (verdict.acknowledged, verdict.unknown, verdict.owed) == (4, 1, 3)
    assert (verdict.delivered, verdict.duplicates, verdict.lost) == (4, 0, 0)


def test_a_change_that_was_acknowledged_and_never_taken_is_a_loss() -> None:
    assert broken(*SENT, post(told(1)), post(told(2))) == {"loss": 1}


@pytest.mark.parametrize(
    "last",
    [post(told(3), answered=500), post(told(3), answered=0), replace(post(told(3)), is_written=False)],
    ids=["refused", "not answered", "answer not written"],
)
def test_a_notification_that_was_not_answered_2xx_delivers_nothing(last: Posted) -> None:
    assert broken(*SENT, post(told(1)), post(told(2)), last) == {"loss": 1}


def test_a_subscription_that_hears_nothing_at_all_loses_everything() -> None:
    assert broken(*SENT) == {"loss": 3}


def test_a_change_requested_before_the_subscription_was_active_is_not_owed() -> None:
    assert broken(replace(ANA, at_ms=2), request(1), request(2), post(told(1, 2))) == {}


def test_a_change_while_the_subscription_was_off_is_not_owed_and_one_after_it_is() -> None:
    records = (*SENT, Lapsed("s", 2), replace(ANA, at_ms=3), post(told(1)))
    assert broken(*records) == {"loss": 1}
    assert broken(*records, post(told(2, 3))) == {}


def test_a_number_that_is_passed_over_is_a_gap() -> None:
    assert broken(*SENT[:3], post(told(1)), post(told(3, 2))) == {"gap": 1}


def test_numbers_start_at_1() -> None:
    assert broken(*SENT[:2], post(told(2, 1))) == {"gap": 1}


def test_numbers_that_are_taken_in_another_order_are_a_gap() -> None:
    assert "gap" in broken(*SENT, post(told(1)), post(told(3)), post(told(2)))


@pytest.mark.parametrize(
    "other", [told(1, 2), replace(told(1), version=7), replace(told(1), digest="another")]
)
def test_a_number_that_stands_for_two_events_is_used_again(other: Told) -> None:
    found = broken(
        *SENT[:3], post(told(1), answered=503), Fault("killed", 5), post(kind="handshake"), post(other)
    )
    assert found["reuse"] == 1


def test_a_change_under_two_numbers_was_numbered_twice() -> None:
    assert broken(*SENT[:2], post(told(1)), post(told(2, 1))) == {"renumber": 1}


def test_a_retry_with_more_events_is_another_notification() -> None:
    found = broken(*SENT[:3], post(told(1), answered=503), post(told(1), told(2)))
    assert found == {"retry": 1}


def test_after_a_new_registration_a_notification_may_be_made_anew() -> None:
    records = (*SENT[:3], post(told(1), answered=400), post(kind="handshake"), post(told(1), told(2)))
    assert broken(*records) == {}


def test_changes_of_one_resource_in_another_order_break_the_order() -> None:
    assert broken(*SENT[:3], post(told(1, 2)), post(told(2, 1))) == {"order": 1}


def test_an_event_of_another_patient_is_foreign() -> None:
    sent = request(1, resource="Observation/q", patient="ben")
    event = Told(1, "Observation/q", 1, 1, "ben", "body")
    assert broken(ANA, sent, post(event)) == {"foreign": 1}


def test_an_event_nobody_requested_is_foreign() -> None:
    assert broken(ANA, request(1), post(told(1)), post(told(2, 9))) == {"foreign": 1}


def test_a_change_that_comes_as_another_version_than_acknowledged_is_foreign() -> None:
    assert broken(ANA, request(1), post(replace(told(1), version=2))) == {"foreign": 1}


def test_events_of_a_subscription_that_is_none_are_foreign() -> None:
    assert broken(ANA, request(1), post(told(1)), replace(post(told(1)), subscription="t")) == {"foreign": 1}


def test_an_event_of_a_refused_change_is_found() -> None:
    assert broken(ANA, replace(request(1), answer=Answer.REFUSED, version=0), post(told(1))) == {"refused": 1}


def test_a_number_taken_twice_is_a_duplicate() -> None:
    assert broken(*SENT[:2], post(told(1)), post(told(1))) == {"duplicate": 1}


@pytest.mark.parametrize(("can_repeat", "found"), [(True, {}), (False, {"duplicate": 1})])
def test_a_duplicate_is_counted_and_excused_by_a_fault_that_can_lose_an_answer(
    can_repeat: bool, found: dict[str, int]
) -> None:
    records = [*SENT[:2], Fault("f", 5, can_repeat), post(told(1)), post(told(1))]
    verdict = check(History(records))
    assert verdict.duplicates == 1
    assert verdict.broken == found


def test_a_fault_after_it_excuses_no_duplicate() -> None:
    assert broken(*SENT[:2], post(told(1)), post(told(1)), Fault("f", 5)) == {"duplicate": 1}


def test_what_was_asked_for_again_is_no_duplicate_and_may_come_in_other_notifications() -> None:
    records = (*SENT[:3], post(told(1)), post(told(2)), Redriven("s", 1, 2, 5), post(told(1), told(2)))
    verdict = check(History(list(records)))
    assert verdict.is_good
    assert verdict.duplicates == 0


def test_a_history_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    records = [*SENT, post(told(1), told(2)), Fault("f", 5), Redriven("s", 1, 2, 6), Recovered("f", 0.5, 7)]
    with path.open("w") as file:
        History(file=file).extend(records)
    assert History.read(path).records == records
