"""A page of the audit trail looks at a bounded number of entries, and continues where it stopped."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from broker.errors import Malformed
from broker.model.audit import AuditAction, AuditEntity, AuditEntry, AuditOutcome, ChainedEntry, ChainHead
from broker.model.principal import OPEN_PRINCIPAL
from broker.services.audit import AuditService
from broker.services.audit_query import AuditQuery

ENTRIES = [
    ChainedEntry(n, n, AuditEntry(AuditAction.READ, agent="rare" if n in {2, 3} else "often"))
    for n in range(1, 11)
]


class Trail:
    """Ten entries. `read` counts those that were looked at."""

    def __init__(self) -> None:
        self.read = 0

    async def chain(self, _tenant: str) -> None:
        pass

    async def head(self, _tenant: str) -> ChainHead:
        return ChainHead(len(ENTRIES), "")

    async def backward(self, _tenant: str, last: int) -> AsyncIterator[ChainedEntry]:
        for entry in reversed(ENTRIES[:last]):
            self.read += 1
            yield entry


async def pages(query: AuditQuery, *, count: int, max_examined: int) -> list[tuple[list[int], int]]:
    """Of each page: the numbers of its entries, and how many entries it looked at."""
    rows, behind = [], 0
    while True:
        trail = Trail()
        page = await AuditService(cast("Any", trail)).search(
            OPEN_PRINCIPAL, query.passes, query.period, behind=behind, count=count, max_examined=max_examined
        )
        rows.append(([entry.sequence for entry in page.entries], trail.read))
        if not page.next:
            return rows
        behind = page.next


async def test_a_rare_entry_is_found_in_bounded_steps() -> None:
    rows = await pages(AuditQuery(agent="rare"), count=5, max_examined=4)
    assert [numbers for numbers, _ in rows] == [[], [3], [2]]
    assert max(read for _, read in rows) <= 5


async def test_a_page_that_is_full_does_not_wait_for_the_bound() -> None:
    rows = await pages(AuditQuery(), count=3, max_examined=100)
    assert [numbers for numbers, _ in rows] == [[10, 9, 8], [7, 6, 5], [4, 3, 2], [1]]
    assert max(read for _, read in rows) <= 4


def test_each_field_of_a_query_narrows_it() -> None:
    entry = AuditEntry(
        AuditAction.UPDATE,
        AuditOutcome.MINOR_FAILURE,
        "gateway",
        entities=(AuditEntity("Observation", "o", 2, "Patient/ana"),),
    )
    chained = ChainedEntry(1, 1, entry)
    for query in (
        AuditQuery(),
        AuditQuery("gateway", AuditAction.UPDATE, "Observation/o", is_failure=True),
        AuditQuery(subject="Observation/o/_history/2"),
        AuditQuery(subject="Patient/ana"),
    ):
        assert query.passes(chained), query
    for query in (
        AuditQuery("gate"),
        AuditQuery(action=AuditAction.READ),
        AuditQuery(subject="Observation/other"),
        AuditQuery(subject="Observation/o/_history/1"),
    ):
        assert not query.passes(chained), query
    succeeded = chained._replace(entry=entry._replace(outcome=AuditOutcome.SUCCESS))
    assert not AuditQuery(is_failure=True).passes(succeeded)
    with pytest.raises(Malformed):
        _ = AuditQuery(end="tomorrow").period
