"""The checker reports each kind of broken promise, and nothing for a history that keeps all of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.history import (
    Answer,
    ChangeRequest,
    Deactivated,
    DeliveredEvent,
    Fault,
    History,
    NotificationPost,
    Record,
    Recovery,
    ResendRequested,
    ResourceWritten,
    SubscriptionActivated,
)

ANA = SubscriptionActivated("s", ("ana",), 0)


def request(sequence: int, *, resource: str = "Observation/r", patient: str = "ana") -> ChangeRequest:
    return ChangeRequest(resource, sequence, patient, sequence, sequence + 1, Answer.ACKNOWLEDGED, sequence)


def event(number: int, sequence: int | None = None) -> DeliveredEvent:
    sequence = number if sequence is None else sequence
    return DeliveredEvent(number, "Observation/r", sequence, sequence, "ana", f"body {sequence}")


def post(*events: DeliveredEvent, answered: int = 200, kind: str = "event-notification") -> NotificationPost:
    """A notification whose body follows from its events."""
    body = hashlib.sha256(repr(events).encode()).hexdigest()
    return NotificationPost("s", kind, "active", "n", body, events, 10, answered, answered > 0)


def findings(*records: Record) -> dict[str, int]:
    return dict(check(History(list(records))).broken)


SENT: Sequence[Record] = (ANA, request(1), request(2), request(3))


def test_a_history_that_keeps_every_promise_is_good() -> None:
    verdict = check(
        History(
            [
                post(kind="handshake"),
                *SENT,
                request(1, resource="Observation/q", patient="ben"),
                post(event(1), answered=503),
                post(event(1)),
                post(event(2), event(3)),
                replace(request(4), answer=Answer.UNKNOWN),
                replace(request(5), answer=Answer.REFUSED),
                post(event(4)),
            ]
        )
    )
    assert verdict.is_good
    assert (verdict.acknowledged, verdict.unknown, verdict.owed) == (4, 1, 3)
    assert (verdict.delivered, verdict.duplicates, verdict.lost) == (4, 0, 0)


def test_an_acknowledged_change_that_was_never_accepted_is_a_loss() -> None:
    assert findings(*SENT, post(event(1)), post(event(2))) == {"loss": 1}


@pytest.mark.parametrize(
    "last",
    [post(event(3), answered=500), post(event(3), answered=0), replace(post(event(3)), is_written=False)],
    ids=["refused", "not answered", "answer not written"],
)
def test_a_notification_that_was_not_answered_2xx_delivers_nothing(last: NotificationPost) -> None:
    assert findings(*SENT, post(event(1)), post(event(2)), last) == {"loss": 1}


def test_a_subscription_without_any_notification_loses_everything() -> None:
    assert findings(*SENT) == {"loss": 3}


def test_a_change_requested_before_the_subscription_was_active_is_not_owed() -> None:
    assert findings(replace(ANA, at_ms=2), request(1), request(2), post(event(1, 2))) == {}


def test_a_change_while_the_subscription_was_off_is_not_owed_and_one_after_it_is() -> None:
    records = (*SENT, Deactivated("s", 2), replace(ANA, at_ms=3), post(event(1)))
    assert findings(*records) == {"loss": 1}
    assert findings(*records, post(event(2, 3))) == {}


def test_a_skipped_number_is_a_gap() -> None:
    assert findings(*SENT[:3], post(event(1)), post(event(3, 2))) == {"gap": 1}


def test_numbers_start_at_1() -> None:
    assert findings(*SENT[:2], post(event(2, 1))) == {"gap": 1}


def test_numbers_in_another_order_are_a_gap() -> None:
    assert "gap" in findings(*SENT, post(event(1)), post(event(3)), post(event(2)))


@pytest.mark.parametrize(
    "other", [event(1, 2), replace(event(1), version=7), replace(event(1), digest="another")]
)
def test_a_number_that_stands_for_two_events_is_reused(other: DeliveredEvent) -> None:
    reported = findings(
        *SENT[:3], post(event(1), answered=503), Fault("killed", 5), post(kind="handshake"), post(other)
    )
    assert reported["reuse"] == 1


def test_a_change_with_two_numbers_was_renumbered() -> None:
    assert findings(*SENT[:2], post(event(1)), post(event(2, 1))) == {"renumber": 1}


def test_a_retry_with_more_events_is_another_notification() -> None:
    reported = findings(*SENT[:3], post(event(1), answered=503), post(event(1), event(2)))
    assert reported == {"retry": 1}


def test_after_a_new_registration_a_notification_may_be_built_again() -> None:
    records = (*SENT[:3], post(event(1), answered=400), post(kind="handshake"), post(event(1), event(2)))
    assert findings(*records) == {}


def test_changes_of_one_resource_in_another_order_break_the_order() -> None:
    assert findings(*SENT[:3], post(event(1, 2)), post(event(2, 1))) == {"order": 1}


def test_an_event_of_another_patient_is_foreign() -> None:
    sent = request(1, resource="Observation/q", patient="ben")
    of_ben = DeliveredEvent(1, "Observation/q", 1, 1, "ben", "body")
    assert findings(ANA, sent, post(of_ben)) == {"foreign": 1}


def test_an_event_nobody_requested_is_foreign() -> None:
    assert findings(ANA, request(1), post(event(1)), post(event(2, 9))) == {"foreign": 1}


def test_a_change_that_comes_as_another_version_than_acknowledged_is_foreign() -> None:
    assert findings(ANA, request(1), post(replace(event(1), version=2))) == {"foreign": 1}


def test_events_of_an_unknown_subscription_are_foreign() -> None:
    assert findings(ANA, request(1), post(event(1)), replace(post(event(1)), subscription="t")) == {
        "foreign": 1
    }


def test_an_event_of_a_refused_change_is_reported() -> None:
    assert findings(ANA, replace(request(1), answer=Answer.REFUSED, version=0), post(event(1))) == {
        "refused": 1
    }


def test_a_number_accepted_twice_is_a_duplicate() -> None:
    assert findings(*SENT[:2], post(event(1)), post(event(1))) == {"duplicate": 1}


@pytest.mark.parametrize(("can_repeat", "reported"), [(True, {}), (False, {"duplicate": 1})])
def test_a_duplicate_is_counted_and_excused_by_a_fault_that_can_lose_an_answer(
    can_repeat: bool, reported: dict[str, int]
) -> None:
    records = [*SENT[:2], Fault("f", 5, can_repeat), post(event(1)), post(event(1))]
    verdict = check(History(records))
    assert verdict.duplicates == 1
    assert verdict.broken == reported


def test_a_later_fault_excuses_no_duplicate() -> None:
    assert findings(*SENT[:2], post(event(1)), post(event(1)), Fault("f", 5)) == {"duplicate": 1}


def test_a_resend_is_no_duplicate_and_may_come_in_other_notifications() -> None:
    records = (
        *SENT[:3],
        post(event(1)),
        post(event(2)),
        ResendRequested("s", 1, 2, 5),
        post(event(1), event(2)),
    )
    verdict = check(History(list(records)))
    assert verdict.is_good
    assert verdict.duplicates == 0


def test_a_history_is_unchanged_after_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    records = [
        *SENT,
        post(event(1), event(2)),
        Fault("f", 5),
        ResendRequested("s", 1, 2, 6),
        Recovery("f", 0.5, 7),
    ]
    with path.open("w") as file:
        History(file=file).extend(records)
    assert History.read(path).records == records


EHR = SubscriptionActivated("ehr", ("ana",), 0)


def written(
    sequence: int, *, resource: str = "Observation/r", ehr_id: str = "1", ehr_patient: str = "Patient/1"
) -> ResourceWritten:
    return ResourceWritten("ehr", resource, sequence, "ana", ehr_patient, ehr_id, 10)


def test_writes_that_are_repeated_in_order_are_good() -> None:
    verdict = check(
        History([EHR, request(1), request(2), written(1), written(2), written(1), written(2), written(2)])
    )
    assert verdict.is_good
    assert (verdict.owed, verdict.delivered, verdict.duplicates) == (2, 2, 0)


@pytest.mark.parametrize(
    ("writes", "rule"),
    [
        ((written(1),), "loss"),
        ((written(2), written(1), written(2)), "order"),
        ((written(1), written(2), written(1)), "order"),
        ((written(1), written(2, ehr_id="2")), "duplicate"),
        ((written(1), written(2, ehr_patient="Patient/2")), "duplicate"),
        ((written(1), written(2), written(3)), "foreign"),
        ((written(1), written(2), written(1, resource="Observation/q", ehr_id="2")), "foreign"),
    ],
)
def test_a_write_that_breaks_a_promise_is_found(writes: Sequence[Record], rule: str) -> None:
    other = request(1, resource="Observation/q", patient="ben")
    assert findings(EHR, request(1), request(2), other, *writes) == {rule: 1}


def test_a_refused_change_that_was_written_is_found() -> None:
    refused = replace(request(2), answer=Answer.REFUSED)
    assert findings(EHR, request(1), refused, written(1), written(2)) == {"refused": 1}
