"""Finds and removes what the store holds about a person: versions of resources, their entries in the log of
changes, and dead letters.

It reads every resource of the tenant, so it takes as long as the store is large. Who calls it says which
resource is about the person. A version that an event still names is removed as if its retention had passed:
the event keeps its number, and says that the version is no longer stored.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.fhir.identifiers import identifiers
from broker.model.change import Tenant, VersionKey
from broker.model.notification import Event
from broker.model.resource import Resource
from broker.store import keys, stream_id
from broker.store.attempt_records import decode_text
from broker.store.attempt_texts import AttemptTexts, StoredText
from broker.store.bodies import UNSEALED, Bodies
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.matched_positions import MatchedPositions
from broker.store.protocol import Command, ScanPlace, Store
from broker.store.records import event_of, logged_change
from broker.store.replies import entries_of
from broker.store.resources import read_stored, unpack
from broker.store.scripts import intake
from broker.store.stream_id import StreamId
from broker.store.subscription_ids import SubscriptionIds

_PAGE = 500

Target = tuple[str, str]
"""Type and id of a resource."""


class StoredKey(NamedTuple):
    """A version with the key of its string; `is_current` unless it was superseded."""

    name: bytes
    target: Target
    number: int
    is_current: bool


@dataclass(slots=True)
class Versions:
    """The versions of a resource that are about the person. `current` is 0 unless the current one is."""

    current: int = 0
    superseded: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.superseded) + (1 if self.current else 0)


@dataclass(slots=True)
class PersonalData:
    """What was found. `mentions` are resources about others that name the person somewhere; they stay, as do
    the `events`, which hold ids alone. `waiting` counts inbox entries that are not read, and changes that are
    not matched: the broker still needs those.
    """

    resources: dict[Target, Versions] = field(default_factory=dict)
    mentions: set[Target] = field(default_factory=set)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    log: dict[int, list[str]] = field(default_factory=dict)
    waiting: int = 0
    events: int = 0
    attempts: list[StoredText] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """How many versions of each type, and what else goes."""
        counts = Counter[str]()
        for (resource_type, _), versions in self.resources.items():
            counts[f"versions of {resource_type}"] += len(versions)
        for dead_letter in self.dead_letters:
            counts[f"dead letters ({dead_letter.kind})"] += 1
        counts["texts of attempts"] = len(self.attempts)
        counts["entries of the log of changes"] = sum(map(len, self.log.values()))
        return +counts


class PersonalDataStore:
    """Of one tenant and one person, `Patient/id`; `is_about` decides whether a resource is about them."""

    def __init__(
        self,
        store: Store,
        tenant: Tenant,
        patient: str,
        is_about: Callable[[Resource, str], bool],
        bodies: Bodies = UNSEALED,
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._tenant = tenant
        self._patient = patient
        self._is_about = is_about
        self._identifiers: set[bytes] = set()
        """The values of the person's identifiers: payloads of devices name nothing else."""

    async def find(self) -> PersonalData:
        """Everything, without changing it."""
        found = PersonalData()
        self_target = ("Patient", self._patient.removeprefix("Patient/"))
        async for stored, content in self._versions():
            version = read_stored(content)
            key = VersionKey(self._tenant, *stored.target, version.number)
            resource = unpack(key, version, self._bodies).resource
            if stored.target == self_target or (resource and self._is_about(resource, self._patient)):
                versions = found.resources.setdefault(stored.target, Versions())
                if stored.target == self_target and resource is not None:
                    self._identifiers |= {token.value.encode() for token in identifiers(resource)}
                if stored.is_current:
                    versions.current = version.number
                else:
                    versions.superseded.add(stored.number)
            elif resource is not None and _names(resource.text, self._patient):
                found.mentions.add(stored.target)
        found.mentions -= found.resources.keys()
        await self._add_deletions(found)
        targets = found.resources.keys() | {self_target}
        found.waiting = await self._count_inbox()
        await self._add_log(found, targets)
        await self._add_dead_letters(found, targets)
        await self._add_attempts(found, targets)
        found.events = await self._count_events(targets)
        return found

    async def erase(self, found: PersonalData) -> None:
        """Removes what was found. May be repeated."""
        await DeadLetterActions(self._store).discard(found.dead_letters)
        await AttemptTexts(self._store).remove(found.attempts)
        layout = self._store.layout
        for (resource_type, resource_id), versions in found.resources.items():
            partition = layout.partition_of(self._tenant, resource_id)
            key = VersionKey(self._tenant, resource_type, resource_id, versions.current)
            await intake.erase_resource(
                self._store, partition, key, sorted(versions.superseded), is_current=versions.current > 0
            )
        for partition, entries in found.log.items():
            for start in range(0, len(entries), _PAGE):
                command = ("XDEL", keys.changes(partition), *entries[start : start + _PAGE])
                await self._store.send([command])

    async def _versions(self) -> AsyncIterator[tuple[StoredKey, bytes]]:
        place: ScanPlace | None = ScanPlace()
        pattern = f"{{p*}}:resource:{self._tenant}:*"
        while place is not None:
            place, names = await self._store.scan_keys(pattern, place)
            stored = [_stored_key(name) for name in names if not name.endswith(b":event")]
            commands: list[Command] = [("GET", each.name) for each in stored]
            replies = await self._store.send(commands) if commands else []
            for each, content in zip(stored, replies, strict=True):
                if content is not None:
                    yield each, content

    async def _add_deletions(self, found: PersonalData) -> None:
        """The current version of a resource that was about the person, if that is its deletion."""
        layout = self._store.layout
        for target, versions in found.resources.items():
            if versions.current:
                continue
            partition = layout.partition_of(self._tenant, target[1])
            (content,) = await self._store.send([("GET", keys.resource(partition, self._tenant, *target))])
            if content is not None and not (version := read_stored(content)).text:
                versions.current = version.number

    async def _add_log(self, found: PersonalData, targets: set[Target]) -> None:
        layout = self._store.layout
        partitions = sorted({layout.partition_of(self._tenant, resource_id) for _, resource_id in targets})
        positions = await MatchedPositions(self._store).load(partitions)
        for partition in partitions:
            position, bound = StreamId.parse(positions[partition]), stream_id.FIRST
            while True:
                command = ("XRANGE", keys.changes(partition), bound, stream_id.LAST, "COUNT", _PAGE)
                page = entries_of((await self._store.send([command]))[0])
                for entry_id, fields in page:
                    key = logged_change(fields).key
                    if key.tenant != self._tenant or (key.type, key.id) not in targets:
                        continue
                    if StreamId.parse(entry_id) > position:
                        found.waiting += 1
                    else:
                        found.log.setdefault(partition, []).append(entry_id.decode())
                if len(page) < _PAGE:
                    break
                bound = stream_id.after(page[-1][0])

    async def _add_dead_letters(self, found: PersonalData, targets: set[Target]) -> None:
        letters = DeadLetters(self._store, self._bodies)
        async for dead_letter in letters.walk(self._tenant, DeadLetterFilter()):
            focus = dead_letter.focus
            if focus is None and dead_letter.has_explanation:
                # the event is not stored any more: nobody can say whom the receiver's words are about
                found.dead_letters.append(dead_letter)
            elif (focus is not None and (focus.type, focus.id) in targets) or (
                dead_letter.entry is not None
                and (self._is_entry_about(dead_letter.entry) or self._is_reading_of(dead_letter))
            ):
                found.dead_letters.append(dead_letter)

    async def _add_attempts(self, found: PersonalData, targets: set[Target]) -> None:
        """What attempts sent and were answered, unless it is known to be about others."""
        texts = AttemptTexts(self._store)
        async for stored in texts.all([self._tenant]):
            events = await texts.events_of(stored)
            if events is None or any(_involves(event, targets) for event in events):
                found.attempts.append(stored)
                continue
            plain = b"\n".join(decode_text(self._bodies.unpack(stored.text, self._tenant, stored.reference)))
            names = (f"{resource_type}/{resource_id}" for resource_type, resource_id in targets)
            if any(_names(plain, name) for name in names) or self._is_identified(plain):
                found.attempts.append(stored)

    def _is_reading_of(self, dead_letter: DeadLetter) -> bool:
        """Whether a quarantined reading names the person by an identifier, as a whole word."""
        if dead_letter.kind is not DeadLetterKind.READING or dead_letter.entry is None:
            return False
        text = b"\n".join(dead_letter.entry.get(name, b"") for name in (b"content", b"parameters"))
        return self._is_identified(text)

    def _is_identified(self, text: bytes) -> bool:
        """Whether a text has an identifier of the person as a whole word."""
        return any(
            re.search(rb"(?<![\w.-])" + re.escape(value) + rb"(?![\w.-])", text)
            for value in self._identifiers
        )

    async def _count_inbox(self) -> int:
        count, bound = 0, stream_id.FIRST
        while True:
            command = ("XRANGE", keys.INBOX, bound, stream_id.LAST, "COUNT", _PAGE)
            page = entries_of((await self._store.send([command]))[0])
            count += sum(self._is_entry_about(fields) for _, fields in page)
            if len(page) < _PAGE:
                return count
            bound = stream_id.after(page[-1][0])

    def _is_entry_about(self, entry: Mapping[bytes, bytes]) -> bool:
        """Whether a refused entry names the person. It may be no FHIR at all."""
        text = b"\n".join(entry.values())
        resource_id = self._patient.removeprefix("Patient/").encode()
        is_patient = b'"Patient"' in text and b'"' + resource_id + b'"' in text
        return is_patient or _names(text, self._patient)

    async def _count_events(self, targets: set[Target]) -> int:
        count, ids = 0, SubscriptionIds(self._store)
        for shard in range(self._store.layout.shards):
            async for page in ids.in_shard(shard, [self._tenant]):
                for subscription in page:
                    count += await self._count_outbox(keys.outbox(shard, *subscription), targets)
        return count

    async def _count_outbox(self, outbox: str, targets: set[Target]) -> int:
        count, bound = 0, stream_id.FIRST
        while True:
            (page,) = await self._store.send([("XRANGE", outbox, bound, stream_id.LAST, "COUNT", _PAGE)])
            events = [event_of(self._tenant, entry_id, flat) for entry_id, flat in page]
            count += sum((event.focus.type, event.focus.id) in targets for event in events)
            if len(page) < _PAGE:
                return count
            bound = stream_id.after(page[-1][0])


def _stored_key(name: bytes) -> StoredKey:
    _, _, member = name.decode().partition(":resource:")
    _, _, rest = member.partition(":")
    resource_type, resource_id, *number = rest.split("/")
    return StoredKey(name, (resource_type, resource_id), int(number[0]) if number else 0, not number)


def _involves(event: Event, targets: set[Target]) -> bool:
    """Whether a resource of the event is one of the targets."""
    resources = (event.focus, *(included.key for included in event.context))
    return any((key.type, key.id) in targets for key in resources)


def _names(text: bytes, name: str) -> bool:
    """Whether a text has the reference `Type/id`, relative or absolute, with or without a version."""
    reference = name.encode()
    return any(reference + end in text for end in (b'"', b"/_history", b"|", b"#"))
