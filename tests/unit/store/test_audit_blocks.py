"""The chain of audit entries: whatever is altered, removed or exchanged is found, at the first bad entry."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.audit import AuditAction, AuditEntity, AuditEntry, AuditOutcome, ChainProblem, Requester
from broker.model.change import Tenant
from broker.store.audit_blocks import (
    Block,
    encode_change,
    encode_entries,
    encode_entry,
    entries_of,
    first_digest,
)

TENANT = Tenant("ward")
ENTITY = AuditEntity("Observation", "o1", 3, "Patient/p1")
ENTRY = AuditEntry(
    AuditAction.READ, AuditOutcome.MINOR_FAILURE, "gateway", "10.0.0.7", "forbidden", (ENTITY,)
)


def entry_of(text: str) -> AuditEntry:
    return AuditEntry(AuditAction.READ, agent=text, entities=(ENTITY,))


def chain_of(sizes: Sequence[int]) -> list[Block]:
    """Blocks of so many entries each, one after the other; no two entries are alike."""
    blocks: list[Block] = []
    first, digest = 1, first_digest(TENANT)
    for size in sizes:
        timed = [(1_000 + n, encode_entry(entry_of(f"client-{n}"))) for n in range(first, first + size)]
        blocks.append(Block.build(first, digest, timed))
        first, digest = blocks[-1].last + 1, blocks[-1].digest
    return blocks


def verify(blocks: Sequence[Block]) -> ChainProblem | None:
    sequence, digest = 0, first_digest(TENANT)
    for block in blocks:
        problem = block.check(sequence + 1, digest)
        if problem is not None:
            return problem
        sequence, digest = block.last, block.digest
    return None


def timed_of(block: Block) -> list[tuple[int, bytes]]:
    return [(each.recorded_ms, encode_entry(each.entry)) for each in block.chained()]


def with_entries(block: Block, timed: Sequence[tuple[int, bytes]]) -> Block:
    """The block with other entries under its own digests, as someone writes it who can't make digests fit."""
    rebuilt = Block.build(block.first, block.previous, timed)
    return block._replace(entries=rebuilt.entries)


SIZES = st.lists(st.integers(1, 8), min_size=2, max_size=6)


def test_an_entry_is_read_as_it_was_written() -> None:
    block = Block.build(7, first_digest(TENANT), [(5, encode_entry(ENTRY)), (6, encode_entry(ENTRY))])
    assert [(each.sequence, each.recorded_ms, each.entry) for each in block.chained()] == [
        (7, 5, ENTRY),
        (8, 6, ENTRY),
    ]
    assert (block.last, block.entries and len(block.digest)) == (8, 32)


def test_records_of_a_journal_give_their_entries() -> None:
    assert entries_of([b"entries", encode_entries([ENTRY, ENTRY])]) == [encode_entry(ENTRY)] * 2
    assert entries_of([b"entry", encode_entry(ENTRY)]) == [encode_entry(ENTRY)]
    known = encode_change(Requester("gateway", "10.0.0.7"), "Observation", "o1", "Patient/p1")
    changed = AuditEntry(AuditAction.UPDATE, agent="gateway", address="10.0.0.7", entities=(ENTITY,))
    assert entries_of([b"change", known, b"state", b"3 update"]) == [encode_entry(changed)]
    assert encode_change(Requester(), "Observation", "o1", "") == b""


@given(SIZES)
def test_an_intact_chain_has_no_problem(sizes: list[int]) -> None:
    blocks = chain_of(sizes)
    assert verify(blocks) is None
    for block in blocks:
        assert block.digest_of(block.last) == block.digest


@given(SIZES, st.data())
def test_an_altered_entry_is_named(sizes: list[int], data: st.DataObject) -> None:
    blocks = chain_of(sizes)
    n = data.draw(st.integers(0, len(blocks) - 1))
    timed = timed_of(blocks[n])
    index = data.draw(st.integers(0, len(timed) - 1))
    kind = data.draw(st.sampled_from(["entry", "moment"]))
    moment, content = timed[index]
    timed[index] = (moment, encode_entry(entry_of("somebody"))) if kind == "entry" else (moment + 1, content)
    blocks[n] = with_entries(blocks[n], timed)
    problem = verify(blocks)
    assert problem is not None
    assert problem.sequence == blocks[n].first + index


@given(SIZES, st.data())
def test_a_removed_entry_is_named(sizes: list[int], data: st.DataObject) -> None:
    blocks = chain_of(sizes)
    n = data.draw(st.integers(0, len(blocks) - 1))
    timed = timed_of(blocks[n])
    index = data.draw(st.integers(0, len(timed) - 1))
    del timed[index]
    if not timed:
        return
    blocks[n] = with_entries(blocks[n], timed)
    problem = verify(blocks)
    assert problem is not None
    assert problem.sequence == blocks[n].first + index


@given(SIZES, st.data())
def test_two_exchanged_entries_are_found_at_the_first(sizes: list[int], data: st.DataObject) -> None:
    blocks = chain_of([size + 1 for size in sizes])
    n = data.draw(st.integers(0, len(blocks) - 1))
    timed = timed_of(blocks[n])
    a, b = sorted(data.draw(st.lists(st.integers(0, len(timed) - 1), min_size=2, max_size=2, unique=True)))
    timed[a], timed[b] = timed[b], timed[a]
    blocks[n] = with_entries(blocks[n], timed)
    problem = verify(blocks)
    assert problem is not None
    assert problem.sequence == blocks[n].first + a


@given(SIZES, st.data())
def test_a_removed_or_exchanged_block_is_found(sizes: list[int], data: st.DataObject) -> None:
    blocks = chain_of(sizes)
    n = data.draw(st.integers(0, len(blocks) - 2))
    expected = blocks[n].first
    if data.draw(st.booleans()):
        del blocks[n]
    else:
        blocks[n], blocks[n + 1] = blocks[n + 1], blocks[n]
    problem = verify(blocks)
    assert problem is not None
    assert problem.sequence == expected


@given(SIZES, st.data())
def test_any_altered_byte_of_a_block_is_found(sizes: list[int], data: st.DataObject) -> None:
    blocks = chain_of(sizes)
    n = data.draw(st.integers(0, len(blocks) - 1))
    name = data.draw(st.sampled_from(["previous", "digest", "marks", "entries"]))
    content = bytearray(getattr(blocks[n], name))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    altered = _with_field(blocks[n], name, bytes(content))
    if name == "entries" and _reads_alike(altered, blocks[n]):
        return  # an unused bit of the compressed form: the entries are the same
    blocks[n] = altered
    problem = verify(blocks)
    assert problem is not None
    assert altered.first <= problem.sequence <= altered.last


def _with_field(block: Block, name: str, content: bytes) -> Block:
    changed: dict[str, Any] = {name: content}
    return block._replace(**changed)


def _reads_alike(one: Block, other: Block) -> bool:
    try:
        return one.chained() == other.chained()
    except ValueError:
        return False


def test_a_chain_that_was_made_anew_behind_an_altered_entry_has_another_head() -> None:
    blocks = chain_of([3, 3])
    timed = timed_of(blocks[0])
    timed[1] = (timed[1][0], encode_entry(entry_of("somebody")))
    first = Block.build(1, first_digest(TENANT), timed)
    second = Block.build(4, first.digest, timed_of(blocks[1]))
    assert verify([first, second]) is None, "whoever can write everything can make a chain that fits"
    assert second.digest != blocks[1].digest, "but not one with the head that was recorded elsewhere"


def test_the_trail_of_a_tenant_does_not_continue_that_of_another() -> None:
    (block,) = chain_of([2])
    assert block.check(1, first_digest(Tenant("other"))) is not None


def test_a_block_that_cannot_be_decoded_raises() -> None:
    (block,) = chain_of([1])
    for damaged in (b"", b"-\x93", block.entries[:-1]):
        with pytest.raises(ValueError, match=r"."):
            block._replace(entries=damaged).chained()
