"""Records read back as they were written, also by the msgpack of a script."""

import msgspec

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import Event, Included
from broker.model.release import Release
from broker.model.topic import Coding
from broker.store.records import (
    EventRecord,
    Verdict,
    encode,
    encode_event,
    encode_logged,
    event_of,
    logged_change,
)

KEY = VersionKey(DEFAULT_TENANT, "Observation", "o1", 3)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fields(record: bytes, previous: str = "2") -> dict[bytes, bytes]:
    return {b"change": f"3 {previous} update {Release.R5} 7\n".encode() + record}


def test_a_logged_change_is_read_with_its_events_and_trace() -> None:
    codings = (Coding("http://example.org", "A01"), Coding(None, "A02"))
    record = encode_logged(DEFAULT_TENANT, "Observation", "o1", codings, TRACE)
    entry = logged_change(fields(record))
    assert entry.key == KEY
    assert entry.previous == KEY._replace(version=2)
    assert (entry.interaction, entry.release, entry.at_ms) == (Interaction.UPDATE, Release.R5, 7)
    assert (entry.events, entry.trace) == (codings, TRACE)


def test_a_logged_change_without_a_previous_version_has_none() -> None:
    record = encode_logged(DEFAULT_TENANT, "Observation", "o1", (), "")
    assert logged_change(fields(record, previous="-")).previous is None


def test_an_event_is_read_with_its_included_resources_and_trace() -> None:
    version = Version(KEY, Release.R4, Interaction.CREATE, 7, None)
    included = Included(VersionKey(DEFAULT_TENANT, "Patient", "p", 1), Release.R5)
    record = encode_event(Change("9-0", 0, version, None, trace=TRACE), 40, [included])
    assert event_of(DEFAULT_TENANT, b"12-0", [b"event", record]) == Event(
        number=12,
        at_ms=7,
        focus=KEY,
        release=Release.R4,
        interaction=Interaction.CREATE,
        context=(included,),
        trace=TRACE,
    )


def test_stored_records_are_arrays_in_the_order_that_lua_reads() -> None:
    logged = msgspec.msgpack.decode(encode_logged(DEFAULT_TENANT, "Observation", "o1", (), ""))
    assert logged == ["default", "Observation", "o1", [], "", ""]
    version = Version(KEY, Release.R4, Interaction.CREATE, 7, None)
    event = msgspec.msgpack.decode(encode_event(Change("9-0", 0, version, None), 40))
    assert event == ["Observation", "o1", 3, "r4", "create", 7, 40, [], "", ""]
    assert EventRecord.__struct_fields__[:3] == ("type", "id", "version")
    assert EventRecord.__struct_fields__[5:8] == ("at_ms", "size", "included")


def test_a_record_that_a_script_unpacks_has_every_field() -> None:
    verdict = Verdict("t:s", 1, "advance", takes_next=True, type="heartbeat", events=0, first_event=0)
    assert set(msgspec.msgpack.decode(encode(verdict))) == set(Verdict.__struct_fields__)
