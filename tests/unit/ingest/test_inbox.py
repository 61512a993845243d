"""Entries of a source go through a decoder, which may make several changes of one entry."""

from collections.abc import Sequence
from typing import Any

import orjson

from broker.clock import SystemClock
from broker.errors import Issue, Malformed
from broker.ingest.decoder import Entry
from broker.ingest.inbox import InboxIntake
from broker.ingest.intake import Intake
from broker.ingest.requests import ChangeRequest
from broker.store.inbox import InboxEntry
from tests.unit.ingest.intake_fixture import AppendedChanges, Issues, create, running_intake


class LineDecoder:
    """A decoder of another format: each line of an entry is the family name of a Patient."""

    def decode(self, entry: Entry) -> Sequence[ChangeRequest]:
        lines = entry.fields.get("lines", b"").splitlines()
        if not lines:
            raise Malformed(Issue("required", "the field `lines` is missing", "lines"))
        if lines == [b"defect"]:
            raise KeyError("defect")
        return [
            create(orjson.dumps({"resourceType": "Patient", "name": [{"family": line.decode()}]}))._replace(
                idempotency_key=f"entry:{entry.id}#{n}"
            )
            for n, line in enumerate(lines)
        ]


def inbox_intake(intake: Intake) -> InboxIntake:
    readings: Any = None  # no entry has any
    return InboxIntake(intake, LineDecoder(), readings, SystemClock())


def entry(entry_id: str, lines: bytes) -> InboxEntry:
    return InboxEntry(entry_id, {"lines": lines} if lines else {})


async def test_a_decoder_may_request_several_changes_per_entry_and_they_keep_their_order() -> None:
    appended = AppendedChanges()
    async with running_intake(appended, Issues()) as intake:
        entries = [entry("1-0", b"ana\nbea"), entry("2-0", b"cleo")]
        accepted, refused = await inbox_intake(intake).admit(entries)
    assert accepted == entries
    assert refused == []
    first, second = (
        next(n for n, proposal in enumerate(appended.proposals) if name in proposal.tail)
        for name in (b"ana", b"bea")
    )
    assert first < second
    assert len(appended.proposals) == 3


async def test_entries_that_the_decoder_or_the_validator_refuses_have_an_outcome_and_stop_no_other() -> None:
    async with running_intake(AppendedChanges(), Issues()) as intake:
        entries = [entry("1-0", b""), entry("2-0", b"defect"), entry("3-0", b"ana")]
        accepted, refused = await inbox_intake(intake).admit(entries)
    assert [one.id for one in accepted] == ["3-0"]
    codes = [orjson.loads(refusal.outcome)["issue"][0]["code"] for refusal in refused]
    assert codes == ["required", "exception"]
    async with running_intake(AppendedChanges(), Issues(Issue("value", "wrong"))) as intake:
        accepted, refused = await inbox_intake(intake).admit([entry("1-0", b"ana")])
    assert accepted == []
    assert orjson.loads(refused[0].outcome)["issue"][0]["details"]["text"] == "wrong"


async def test_warnings_do_not_refuse_an_entry() -> None:
    async with running_intake(AppendedChanges(), Issues(Issue("value", "odd", severity="warning"))) as intake:
        accepted, refused = await inbox_intake(intake).admit([entry("1-0", b"ana")])
    assert (len(accepted), refused) == (1, [])
