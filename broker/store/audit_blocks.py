"""How the audit trail is stored: records of journals, blocks of the chain, and the digests that link them.

A digest is SHA-256 over the digest of the entry before, the sequence number, the moment, and the entry's
bytes; so it covers every entry up to its own. A block holds up to `MAX_BLOCK` entries, compressed, the digest
before its first entry and that of its last. Of the digests between it holds the first four bytes each, which
say which entry was altered. Pure.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from broker.model.audit import AuditAction, AuditEntity, AuditEntry, ChainedEntry, ChainProblem, Requester
from broker.model.change import Tenant
from broker.store.compression import compress, decompress

MAX_BLOCK = 1_000
_MARK = 4
"""Bytes of each digest that a block keeps."""
_place = struct.Struct(">QQ").pack
_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(AuditEntry).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class _Timed(NamedTuple):
    recorded_ms: int
    entry: msgspec.Raw


_decode_block = msgspec.msgpack.Decoder(list[_Timed]).decode


def encode_entry(entry: AuditEntry) -> bytes:
    return _encode(entry)


def encode_entries(entries: Sequence[AuditEntry]) -> bytes:
    """Entries for the journal of what is not a change."""
    return _encode(entries)


def encode_change(requester: Requester, resource_type: str, resource_id: str, patient: str) -> bytes:
    """The part of a change's entry that is known before it is accepted; empty if it is not audited.

    `append_changes.lua` stores it with what the change became: `<version> <interaction>`.
    """
    if not requester.agent:
        return b""
    return _encode((requester.agent, requester.address, resource_type, resource_id, patient))


_decode_change = msgspec.msgpack.Decoder(tuple[str, str, str, str, str]).decode


def _entry_of_change(known: bytes, state: bytes) -> bytes:
    agent, address, resource_type, resource_id, patient = _decode_change(known)
    version, interaction = state.decode().split(" ")
    entity = AuditEntity(resource_type, resource_id, int(version), patient)
    return _encode(AuditEntry(AuditAction(interaction), agent=agent, address=address, entities=(entity,)))


def entries_of(fields: Sequence[bytes]) -> list[bytes]:
    """The entries of one record of a journal, in their order; `fields` are names and values in turn."""
    entries: list[bytes] = []
    for n in range(0, len(fields), 2):
        name, value = fields[n], fields[n + 1]
        if name == b"entries":
            entries += [bytes(raw) for raw in _split(value)]
        elif name == b"entry":
            entries.append(value)
        elif name == b"change":
            entries.append(_entry_of_change(value, fields[n + 3]))
    return entries


def first_digest(tenant: Tenant) -> bytes:
    """The digest before the first entry of a tenant's trail."""
    return hashlib.sha256(f"audit trail of {tenant}".encode()).digest()


def _digests(first: int, previous: bytes, timed: Iterable[tuple[int, bytes]]) -> list[bytes]:
    digests, digest = [], previous
    for sequence, (recorded_ms, entry) in enumerate(timed, first):
        digest = hashlib.sha256(digest + _place(sequence, recorded_ms) + entry).digest()
        digests.append(digest)
    return digests


class Block(NamedTuple):
    """Consecutive entries. `first` is the number of the first one, and the id of the stream entry."""

    first: int
    previous: bytes
    digest: bytes
    marks: bytes
    entries: bytes

    @classmethod
    def build(cls, first: int, previous: bytes, timed: Sequence[tuple[int, bytes]]) -> "Block":
        """The block of entries with their moments, behind the entry whose digest is `previous`."""
        digests = _digests(first, previous, timed)
        packed = _encode([(recorded_ms, msgspec.Raw(entry)) for recorded_ms, entry in timed])
        marks = b"".join(digest[:_MARK] for digest in digests)
        return cls(first, previous, digests[-1], marks, compress(packed))

    @classmethod
    def read(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> "Block":
        """The block of an entry of the chain stream."""
        names = (b"previous", b"digest", b"marks", b"entries")
        return cls(int(entry_id.partition(b"-")[0]), *(fields.get(name, b"") for name in names))

    @property
    def last(self) -> int:
        """The sequence number of the last entry."""
        return self.first + len(self.marks) // _MARK - 1

    def chained(self) -> list[ChainedEntry]:
        """The entries. Raises `ValueError` for a block that cannot be read."""
        try:
            return [
                ChainedEntry(self.first + n, recorded_ms, _decode_entry(raw))
                for n, (recorded_ms, raw) in enumerate(self._timed())
            ]
        except msgspec.MsgspecError as error:
            raise ValueError(f"a block of the audit trail can't be decoded: {error}") from error

    def _timed(self) -> list[_Timed]:
        return _decode_block(decompress(self.entries))

    def digest_of(self, sequence: int) -> bytes:
        """The digest of an entry of the block, which `check` has found intact."""
        timed = [(each.recorded_ms, bytes(each.entry)) for each in self._timed()]
        return _digests(self.first, self.previous, timed)[sequence - self.first]

    def check(self, expected: int, previous: bytes) -> ChainProblem | None:
        """What is wrong with the block if it follows the entry before `expected`, whose digest is
        `previous`.
        """
        if self.first != expected:
            return ChainProblem(expected, f"the entries {expected} to {self.first - 1} are missing")
        if self.previous != previous:
            return ChainProblem(expected, "it does not continue the entry before it")
        try:
            timed = self._timed()
            entries = [(each.recorded_ms, bytes(each.entry)) for each in timed]
            digests = _digests(self.first, previous, entries)
            for _, entry in entries:
                _decode_entry(entry)
        except (ValueError, msgspec.MsgspecError, MemoryError) as error:
            reason = f"the entries {expected} to {self.last} cannot be read ({type(error).__name__})"
            return ChainProblem(expected, reason)
        marks = [self.marks[n : n + _MARK] for n in range(0, len(self.marks), _MARK)]
        for n, digest in enumerate(digests):
            if n >= len(marks) or digest[:_MARK] != marks[n]:
                return ChainProblem(self.first + n, "it is not the entry that was written")
        if len(marks) != len(digests) or not digests:
            return ChainProblem(self.first + len(digests), "it is missing")
        if digests[-1] != self.digest:
            return ChainProblem(self.last, "the digest stored for it is another one")
        return None
