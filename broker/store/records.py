"""The records that Python and the Lua scripts exchange, encoded and decoded here and nowhere else.

Each record is a msgpack map with named fields. A script that needs fields of a record unpacks it by these
names. The two that are stored in great numbers are arrays, in the order of their fields: `LoggedChange`,
which is opaque to the scripts, and `EventRecord`, of which they read which versions it names. Lua's msgpack
knows no binary strings, so bytes travel as arguments of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from broker.model.change import Change, Interaction, Tenant, VersionKey
from broker.model.notification import Event, Included
from broker.model.release import Release
from broker.model.subscription import SubscriptionStatus
from broker.model.topic import Coding
from broker.store.stream_id import event_number

encode = msgspec.msgpack.Encoder().encode
"""The msgpack map or array of a record."""

RELEASES = {release.encode(): release for release in Release}
INTERACTIONS = {interaction.encode(): interaction for interaction in Interaction}
"""Both by the bytes that the store returns: looking up an enumeration by value is slow."""


class ProposedChange(msgspec.Struct, frozen=True, gc=False):
    """What `append_changes.lua` needs; `identifiers`, `references` and `sets` have one value a line, `date`
    is the score in sets of dates, `place` is that of the keys of its partition.
    """

    place: int
    op: Literal["create", "put", "delete", "event"]
    request_id: str
    id: str
    release: Release
    if_match: str
    if_none_match: str
    digest: str
    identifiers: str
    references: str
    type: str
    sets: str
    date: int


class LoggedChange(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The part of an entry of the changes stream that the producer's request determines."""

    tenant: Tenant
    type: str
    id: str
    events: tuple[tuple[str | None, str], ...] = ()
    trace: str = ""
    patient: str = ""


class LogEntry(NamedTuple):
    """An entry of the changes stream. `previous` is None where the matcher gets no version before."""

    key: VersionKey
    previous: VersionKey | None
    interaction: Interaction
    release: Release
    at_ms: int
    events: tuple[Coding, ...]
    trace: str
    patient: str


_decode_logged = msgspec.msgpack.Decoder(LoggedChange).decode


def encode_logged(
    tenant: Tenant,
    resource_type: str,
    resource_id: str,
    events: Sequence[Coding],
    trace: str,
    patient: str = "",
) -> bytes:
    codings = tuple((event.system, event.code) for event in events)
    return encode(LoggedChange(tenant, resource_type, resource_id, codings, trace, patient))


def logged_change(fields: Mapping[bytes, bytes]) -> LogEntry:
    """Reads an entry of a changes stream, or of the dead letters made from one. Its field `change` has the
    line that `append_changes.lua` writes, and the record.
    """
    state, _, record = fields[b"change"].partition(b"\n")
    logged = _decode_logged(record)
    version, previous, interaction, release, at_ms = state.split(b" ")
    return LogEntry(
        VersionKey(logged.tenant, logged.type, logged.id, int(version)),
        VersionKey(logged.tenant, logged.type, logged.id, int(previous)) if previous != b"-" else None,
        INTERACTIONS[interaction],
        RELEASES[release],
        int(at_ms),
        tuple(Coding(system, code) for system, code in logged.events),
        logged.trace,
        logged.patient,
    )


class IncludedRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A version of another resource that is sent with an event."""

    type: str
    id: str
    version: int
    release: Release


class EventRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An event as its outbox stores it; number and tenant are outside. `size` is how many bytes its resources
    have. Scripts read it (`EVENT` in `lua/shared/subscription.lua`).
    """

    type: str
    id: str
    version: int
    release: Release
    interaction: Interaction
    at_ms: int
    size: int
    included: tuple[IncludedRecord, ...] = ()
    trace: str = ""
    patient: str = ""


_decode_event = msgspec.msgpack.Decoder(EventRecord).decode


def encode_event(change: Change, size: int, included: Sequence[Included] = ()) -> bytes:
    current = change.current
    record = EventRecord(
        current.key.type,
        current.key.id,
        current.key.version,
        current.release,
        current.interaction,
        current.at_ms,
        size,
        tuple(
            IncludedRecord(resource.key.type, resource.key.id, resource.key.version, resource.release)
            for resource in included
        ),
        change.trace,
        change.patient,
    )
    return encode(record)


def event_of(tenant: Tenant, entry_id: bytes, flat: Sequence[bytes]) -> Event:
    """Reads an outbox entry; `flat` has its one field `event`, name and value."""
    record = _decode_event(flat[1])
    return Event(
        number=event_number(entry_id),
        at_ms=record.at_ms,
        focus=VersionKey(tenant, record.type, record.id, record.version),
        release=record.release,
        interaction=record.interaction,
        context=tuple(
            Included(VersionKey(tenant, included.type, included.id, included.version), included.release)
            for included in record.included
        ),
        trace=record.trace,
        patient=record.patient,
    )


class ClaimRecord(msgspec.Struct, frozen=True, gc=False):
    """A claim as `claim_of` in `lua/shared/next_notification.lua` packs it; `type` may also be `resend`."""

    member: str
    token: int
    type: str
    status: SubscriptionStatus
    count: int
    at: int
    attempts: int
    failing_since: int
    now: int
    revision: str
    secrets_id: str
    build_failures: int
    interrupted_at: int = 0


decode_claim = msgspec.msgpack.Decoder(ClaimRecord).decode


DecisionWord = Literal["advance", "retry", "error", "off", "release", "defer", "dead-letter", "withhold"]


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What `commit.lua` does with a claim: the decision about its attempt, and whether to claim the next
    notification.

    `type`, `outcome` and `events` (how many were sent) are what the script counts; an empty outcome is not
    counted.
    """

    member: str
    token: int
    decision: DecisionWord
    takes_next: bool
    type: str
    events: int
    first_event: int
    outcome: str = ""
    delay_ms: int = 0
    error_code: str = ""
    error_text: str = ""
    is_build_failure: bool = False
    dead_letters: tuple[tuple[int, str], ...] = ()
    withheld: tuple[int, ...] = ()
    last_event: int = 0
    """Of the events that an `advance` is about, if they are not all."""


class RegistrationRequest(msgspec.Struct, frozen=True, gc=False):
    """What `register_subscription.lua` needs besides the model. A deletion needs only the name, and how
    long it is known. With `only_owner`, a subscription of another owner is left alone; with `new_owner` an
    update passes it to that client.
    """

    op: Literal["create", "put", "delete"]
    tenant: Tenant
    id: str
    request_id: str
    if_match: str
    if_none_match: str
    only_owner: str = ""
    new_owner: str = ""
    status: str = ""
    owner: str = ""
    max_count: int = 1
    heartbeat_ms: int = 0
    ends: int = 0
    handshake_in_ms: int = 0
    carries_resources: bool = False
    is_pull: bool = False
    keep_deleted_ms: int = 1
