"""Keys of the indexes that searches of stored resources read. They are built nowhere else."""

from broker.model.change import Tenant
from broker.store.keys import partition_tag

SEARCH_INDEXES = "broker:search-indexes"
"""Hash: a resource type, or `*` for every type that has no field, -> its indexes as BROKER_SEARCH_INDEXES has
them; '' while stored resources are being indexed.
"""
SEARCH_BUILDER = "broker:search-builder"
"""String: the process that indexes stored resources; it expires."""
OPEN_EXPORTS = "broker:open-exports"
"""Set: `<tenant> <job>` of the exports whose files are not all checked."""


def export_job(tenant: Tenant, job_id: str) -> str:
    """Hash of a bulk export: `job` and, by number, the results of its files; it expires. `export_jobs.py`
    reads it.
    """
    return f"broker:export:{tenant}:{job_id}"


def export_claim(tenant: Tenant, job_id: str) -> str:
    """String: the process that checks the files of an export; it expires."""
    return f"broker:export-claim:{tenant}:{job_id}"


def search_sets(partition: int, tenant: Tenant, resource_type: str) -> str:
    """Prefix of the sorted sets that searches of a type read: `m<hash>`, `d<hash>` and `l<hash>`, where ids
    are members (`matching/search_terms.py`), and `v` with `<id> <version>` -> ms of each version of a
    resource that has several.
    """
    return f"{partition_tag(partition)}:search:{tenant}:{resource_type}:"


def search_types(partition: int, tenant: Tenant) -> str:
    """Set of the types that have `search_sets`."""
    return f"{partition_tag(partition)}:search-types:{tenant}"


def moments(partition: int) -> str:
    """Hash: `read`, the ms up to which searches have read the partition: later writes are dated after it;
    `written`, the latest ms of a write that was dated after the time of the store.
    """
    return f"{partition_tag(partition)}:moments"
