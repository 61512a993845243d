"""What the soak calls overdue."""

from tests.soak.lifetimes import Entry, Scan

READING = Entry("resource", "{p00}:resource:default:Observation/a", is_passing=True)
PATIENT = Entry("resource", "{p00}:resource:default:Patient/a")
DELETED = Entry("outbox", "{s00}:outbox:default:gone", subscription="gone")
ACTIVE = Entry("outbox", "{s00}:outbox:default:active", subscription="active")


def scan(*entries: Entry) -> Scan:
    return Scan(frozenset(entries), frozenset({"active"}))


def test_what_passes_is_overdue_if_it_stays() -> None:
    assert scan(READING, DELETED).overdue(scan(READING, DELETED)) == [
        f"{entry.kind} {entry.name}" for entry in (DELETED, READING)
    ]


def test_what_leaves_or_comes_and_what_stays_with_its_owner_is_not_overdue() -> None:
    assert scan(READING, DELETED).overdue(scan()) == []
    assert scan().overdue(scan(READING, DELETED)) == []
    assert scan(PATIENT, ACTIVE).overdue(scan(PATIENT, ACTIVE)) == []
