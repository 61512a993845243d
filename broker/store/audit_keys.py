"""The keys of the audit trail: journals lie beside what they record, the chain in a slot of the tenant."""

from broker.model.change import Tenant
from broker.store.keys import Layout, partition_tag, shard_tag

AUDIT_TENANTS = "broker:audit-tenants"
"""Set of the tenants that have an audit trail."""


def audit_of_partition(partition: int, tenant: Tenant) -> str:
    """Stream: audit entries of changes that were accepted, until they are chained (a journal)."""
    return f"{partition_tag(partition)}:audit:{tenant}"


def audit_of_shard(shard: int, tenant: Tenant) -> str:
    """Stream: audit entries of delivery attempts, until they are chained (a journal)."""
    return f"{shard_tag(shard)}:audit:{tenant}"


def audit_journal(tenant: Tenant) -> str:
    """Stream: all other audit entries, until they are chained."""
    return f"{{audit:{tenant}}}:audit-journal"


def audit_marker(tenant: Tenant, batch: str) -> str:
    """String: a batch of audit entries is in the journal. It expires."""
    return f"{{audit:{tenant}}}:audit-batch:{batch}"


def audit_chain(tenant: Tenant) -> str:
    """Stream of the blocks of the trail; the entry id is `<sequence number of the first entry>-0`."""
    return f"{{audit:{tenant}}}:audit-chain"


def audit_head(tenant: Tenant) -> str:
    """Hash: `sequence` and `digest` of the last entry of the chain, `recorded` its moment.

    `anchor` and `anchor_digest` are those of the last entry that retention removed, `position:<journal>` is
    the last record of a journal that is chained.
    """
    return f"{{audit:{tenant}}}:audit-head"


def audit_turn(tenant: Tenant) -> str:
    """String: a process chains the trail at the moment. It expires."""
    return f"{{audit:{tenant}}}:audit-turn"


def audit_journals(layout: Layout, tenant: Tenant) -> list[str]:
    """Every journal of a tenant."""
    return [
        audit_journal(tenant),
        *(audit_of_partition(partition, tenant) for partition in range(layout.partitions)),
        *(audit_of_shard(shard, tenant) for shard in range(layout.shards)),
    ]
