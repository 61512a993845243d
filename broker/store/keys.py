"""Every key name and hash tag, built here and nowhere else.

Two hash tags: an intake partition `{p03}` holds the changes and versions of its resources, a delivery shard `{s03}` the
subscriptions with their outboxes and due times. A script touches keys of one tag only (a transaction on a single server
excepted) or one key without a tag, so the same code runs on one server and on a Cluster. A tenant is part of each key that holds a tenant's data;
logs shared by all tenants carry it in each entry.
"""

import re
import zlib
from dataclasses import dataclass
from functools import cache

from broker.model.change import Tenant, VersionKey

INBOX = "fhir:inbox"
INBOX_REFUSED = "fhir:inbox:refused"
LEASES = "broker:leases"
"""Hash: partition, or `inbox` -> `owner token until`. One key, so that all are renewed in one slot."""
LAYOUT = "broker:layout"
WAKE = "broker:wake"
CHANGED = "broker:changed"
"""Channel, on a Cluster only: a partition whose changes stream got an entry."""
MATCHERS = "broker:matchers"
TOPICS = "broker:topics"
"""Hash: id -> a topic given through the API; the value is drawn at the head of `lua/topic.lua`."""
TOPICS_VALIDATED = "broker:topics:validated"
"""Hash: canonical -> the document for which the subscriptions of that topic version were last looked at."""
TOPICS_CHANGED = "broker:topics:changed"
"""Channel: `topics` or `folder`."""

TENANT_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BROKER_ID = re.compile(r"([0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def placement(tenant: Tenant, resource_id: str) -> int:
    """The 16-bit placement of an id: carried by the ids the broker assigns (UUID version 8), a hash of any other."""
    found = _BROKER_ID.fullmatch(resource_id)
    if found:
        return int(found[1], 16)
    return zlib.crc32(f"{tenant}/{resource_id}".encode()) & 0xFFFF


@dataclass(frozen=True, slots=True)
class Layout:
    """How many partitions and shards the keys are spread over; fixed for the life of a data set."""

    partitions: int
    shards: int

    def partition_of(self, tenant: Tenant, resource_id: str) -> int:
        return placement(tenant, resource_id) % self.partitions

    def shard_of(self, tenant: Tenant, subscription_id: str) -> int:
        return zlib.crc32(f"{tenant}/{subscription_id}".encode()) % self.shards


@cache
def partition_tag(partition: int) -> str:
    return f"{{p{partition:02d}}}"


@cache
def shard_tag(shard: int) -> str:
    return f"{{s{shard:02d}}}"


def changes(partition: int) -> str:
    """Stream of accepted changes: t tenant, y type, i id, v version, p previous version or '', x interaction, r release, a ms.

    A business event has e: its codings, JSON. A change that was set aside and logged anew has d.
    """
    return f"{partition_tag(partition)}:changes"


def aside(partition: int) -> str:
    """Stream of changes that could not be matched, dead letters: the fields of the change, c its id, w why."""
    return f"{partition_tag(partition)}:aside"


def partition_lease(partition: int) -> str:
    """Hash: token, that of the newest lease (`LEASES`) whose owner reads the partition."""
    return f"{partition_tag(partition)}:lease"


def current(partition: int, tenant: Tenant, resource_type: str, resource_id: str) -> str:
    """Hash: v current version, x its interaction, q the request that wrote it, n its identifiers.

    f the references it is found by, w the request of the last business event and its ms.
    """
    return f"{partition_tag(partition)}:cur:{tenant}:{resource_type}/{resource_id}"


def versions(partition: int, tenant: Tenant, resource_type: str, resource_id: str) -> str:
    """Prefix of the version keys; append the number."""
    return f"{partition_tag(partition)}:ver:{tenant}:{resource_type}/{resource_id}/"


def version(partition: int, key: VersionKey) -> str:
    r"""String: `release interaction ms head-length\n` head tail: the text of an `UnversionedResource`, empty for a deletion."""
    return f"{versions(partition, key.tenant, key.type, key.id)}{key.version}"


def identifiers(partition: int, tenant: Tenant, resource_type: str) -> str:
    """Hash: `system|value` -> ids, space-separated, of the current resources of this type and partition."""
    return f"{partition_tag(partition)}:ident:{tenant}:{resource_type}"


def references(partition: int, tenant: Tenant) -> str:
    """Prefix of the sorted sets `<Type/id>:<referring type>:<parameter>`: ids that refer to it -> ms since when."""
    return f"{partition_tag(partition)}:refs:{tenant}:"


def idempotency(partition: int, tenant: Tenant, key: str) -> str:
    """String: digest, status, id, version and time of the first answer to this idempotency key."""
    return f"{partition_tag(partition)}:idem:{tenant}:{key}"


def token(digest: str) -> str:
    """String, JSON: what a binding token stands for; gone when it is redeemed or expires."""
    return f"broker:token:{digest}"


def member(tenant: Tenant, subscription_id: str) -> str:
    """How a subscription is named inside its shard's sets."""
    return f"{tenant}:{subscription_id}"


def subscription(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """Hash; the fields are drawn at the head of `lua/register.lua`."""
    return f"{shard_tag(shard)}:sub:{tenant}:{subscription_id}"


def outbox(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """Stream; entry id `<event number>-0`: y type, i id, v version, x interaction, r release, a ms, n bytes, p partition,
    c change id, k what goes with it (`Type/id/version/release`, space-separated) where there is any; n counts that too.
    """
    return f"{shard_tag(shard)}:outbox:{tenant}:{subscription_id}"


def dead(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """Sorted set of the events that were set aside: `<number> <ms> <why>`, scored by number."""
    return f"{shard_tag(shard)}:dead:{tenant}:{subscription_id}"


def dead_index(shard: int) -> str:
    """Hash: member -> how many of its events are set aside; only those that have some."""
    return f"{shard_tag(shard)}:dead"


def members(shard: int) -> str:
    """Set of the members of a shard."""
    return f"{shard_tag(shard)}:subs"


def due(shard: int) -> str:
    """Sorted set: member -> ms of Redis time at which a dispatcher has to look at it."""
    return f"{shard_tag(shard)}:due"


def registry(shard: int) -> str:
    """Stream, ids `<ms>-<n>`, n gap-free: m member, o put|delete. What matchers follow."""
    return f"{shard_tag(shard)}:registry"


def fence(shard: int) -> str:
    """Hash: partition -> highest lease token seen from its matcher; n<partition> -> how many events were numbered from it.

    jump: the last one (`lua/jump.lua`).
    """
    return f"{shard_tag(shard)}:fence"
