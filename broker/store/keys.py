"""Every key name and hash tag of the store, built here and in `audit_keys.py`, `search_keys.py` and
`token_keys.py`.

Two hash tags spread the data: an intake partition `{p03}` has the changes and versions of its resources, a
delivery shard `{s03}` the subscriptions with their outboxes and due times. The inbox and the topics have a
tag each. A script touches keys of one tag only (a transaction on a single server excepted), so the same code
runs on one server and on a Cluster.

Every key that holds data of one tenant names the tenant. Logs, schedules and counters that all tenants share
name it in each entry. Sets of tenants say which keys there are, so that a sweep goes from tenant to tenant.
"""

import re
import zlib
from dataclasses import dataclass
from functools import cache

from broker.model.change import Tenant, VersionKey
from broker.model.subscription import SubscriptionId, SubscriptionKey

LEASES = "broker:leases"
"""Hash: partition, or `inbox` -> `owner token until`. One key, so that all leases are renewed in one slot."""
LAYOUT = "broker:layout"
SEALING_KEYS = "broker:sealing-keys"
"""Ids of the keys under which values are sealed."""
LAGS = "broker:lags"
"""Hash: a process -> how far its workers are behind, in ms, and the number of the report."""
PROCESSES = "broker:processes"
"""Hash: a process that runs -> until when it counts as running, and its description. `processes.py` reads it.
"""
WAKE = "broker:wake"
"""Channel: `<shard or -> <member>…`: a shard in which something became due, and subscriptions whose open
connections should look at their record.
"""
CHANGED = "broker:changed"
"""Channel, on a Cluster only: a partition whose changes stream got an entry."""
MATCHERS = "broker:matchers"
MEMORY = "broker:memory"
"""Hash: kind of key -> bytes of memory, as the last sample estimated (`memory_sample.py`)."""
ACTIVITY = "broker:activity"
"""Stream: what each process reported in the last hour (`activity.py`)."""
ACTIVITY_TURN = "broker:activity-turn"
"""String: the process that reports the totals of this interval; it expires."""
BACKLOGS = "broker:backlogs"
"""String, msgpack: subscriptions and tenants with the most undelivered events (`backlogs.py`): expires."""
BACKLOGS_TURN = "broker:backlogs:turn"
"""Expires when the next process may sample the backlogs."""
DISK_SPACE = "broker:disk-space"
"""String: `<free bytes> <bytes that a rewrite needs>`; it expires (`disk_space.py`)."""

INBOX = "fhir:inbox"
"""Stream to which gateways write. The keys around it share its slot."""
INBOX_TENANTS = "{fhir:inbox}:tenants"
"""Set of the tenants with refused entries."""
INBOX_COUNTERS = "{fhir:inbox}:counters"
"""Hash; `counters.py` lists the fields."""

QUARANTINE_TENANTS = "{fhir:readings}:tenants"
"""Set of the tenants with quarantined readings."""
QUARANTINE_COUNTERS = "{fhir:readings}:counters"
"""Hash; `counters.py` lists the fields."""
AWAITED = "broker:awaited-by-readings"
"""Channel, JSON: a tenant, and the names of what was written that readings may wait for
(`fhir/device_associations.py`); without any, anything may have been written.
"""

CLIENTS = "broker:clients"
"""Hash: client id -> the JSON of its registration, of the clients that are not registered by files."""
CLIENTS_CHANGED = "broker:clients:changed"
"""Channel: every process should read the registered clients again."""

TOPIC_TENANTS = "{broker:topics}:tenants"
"""Set of the tenants with topics."""
TOPICS_CHANGED = "broker:topics:changed"
"""Channel: `topics` or `folder`."""

_BROKER_ID = re.compile(r"([0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def placement(tenant: Tenant, resource_id: str) -> int:
    """The 16-bit placement of an id: part of an id that the broker assigned, a hash of any other."""
    assigned = _BROKER_ID.fullmatch(resource_id)
    if assigned:
        return int(assigned[1], 16)
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
    """Stream of accepted changes of all tenants. `records.logged_change` reads an entry."""
    return f"{partition_tag(partition)}:changes"


def dead_changes(partition: int, tenant: Tenant) -> str:
    """Stream of changes that are dead letters: the fields of the change, `change_id` and `reason`."""
    return f"{partition_tag(partition)}:dead-letters:{tenant}"


def dead_change_tenants(partition: int) -> str:
    """Set of the tenants with changes that are dead letters."""
    return f"{partition_tag(partition)}:dead-letter-tenants"


def partition_counters(partition: int) -> str:
    """Hash; `counters.py` lists the fields."""
    return f"{partition_tag(partition)}:counters"


def matching(partition: int) -> str:
    """Hash: `token` of the newest lease (`LEASES`) whose owner matches the partition; `position`, id of the
    last change that is matched; `matched`, how many are, dead letters included.
    """
    return f"{partition_tag(partition)}:matching"


def resource(partition: int, tenant: Tenant, resource_type: str, resource_id: str) -> str:
    """String: the current version, as `lua/shared/resource.lua` describes it; a deletion has no text.

    With `:event` behind it, a string: the request of the last business event about the resource, and its
    moment.
    """
    return f"{partition_tag(partition)}:resource:{resource_member(tenant, resource_type, resource_id)}"


def superseded(partition: int, key: VersionKey) -> str:
    """String: a version that is not the current one any more."""
    return f"{resource(partition, key.tenant, key.type, key.id)}/{key.version}"


def resource_member(tenant: Tenant, resource_type: str, resource_id: str) -> str:
    return f"{tenant}:{resource_type}/{resource_id}"


def resource_of(key: bytes) -> tuple[Tenant, str]:
    """The tenant and the `Type/id` of the key of a resource or of a superseded version."""
    _, _, member = key.decode().partition(":resource:")
    tenant, _, reference = member.partition(":")
    return Tenant(tenant), "/".join(reference.split("/")[:2])


def version_member(key: VersionKey) -> str:
    """The member of `held_versions` for a version."""
    return f"{resource_member(key.tenant, key.type, key.id)}/{key.version}"


def version_key(member: bytes) -> VersionKey:
    """The version that a member of `held_versions` names."""
    tenant, _, rest = member.decode().partition(":")
    resource_type, resource_id, number = rest.split("/")
    return VersionKey(Tenant(tenant), resource_type, resource_id, int(number))


def held_versions(partition: int) -> str:
    """Sorted set: `<tenant>:<Type>/<id>/<version>` -> ms: retention treats the version as if it had been
    written then.
    """
    return f"{partition_tag(partition)}:held-versions"


def identifiers(partition: int, tenant: Tenant, resource_type: str) -> str:
    r"""Sorted set by lexical order: `value\x1fsystem\x1fid` for each identifier of the current resources
    of this
    type and partition.
    """
    return f"{partition_tag(partition)}:identifiers:{tenant}:{resource_type}"


def references(partition: int, tenant: Tenant) -> str:
    """Prefix of the sorted sets `<Type/id>:<referring type>:<parameter>`: id that refers -> ms since."""
    return f"{partition_tag(partition)}:references:{tenant}:"


def idempotency(partition: int, tenant: Tenant, key: str) -> str:
    """String: digest, version and time of the first answer to this idempotency key."""
    return f"{partition_tag(partition)}:idempotency:{tenant}:{key}"


def id_claim(tenant: Tenant, resource_type: str, name: str) -> str:
    """String: the id that conditional requests agree on (`id_claims.py`); it expires."""
    return f"broker:id-claim:{tenant}:{resource_type}:{name}"


def refused_inbox(tenant: Tenant | None) -> str:
    """Stream of refused inbox entries: the fields of the entry, its id (`entry`), `reason` and `outcome`.

    None: of the entries that name no valid tenant. Nobody can list those.
    """
    return "{fhir:inbox}:refused" if tenant is None else f"{{fhir:inbox}}:refused:{tenant}"


def quarantine(tenant: Tenant) -> str:
    """Stream of quarantined readings; `quarantine.py` reads an entry."""
    return f"{{fhir:readings}}:quarantined:{tenant}"


def quarantine_waits(tenant: Tenant) -> str:
    """Sorted set by lexical order: `<what it waits for> <ms of its effective time, 16 digits> <entry id>` of
    the quarantined readings that wait for something. Entries may be gone.
    """
    return f"{{fhir:readings}}:waits:{tenant}"


def sealed_readings(tenant: Tenant) -> str:
    """Hash: entry -> record and content of a quarantined reading, sealed; removed with its entry."""
    return f"{{fhir:readings}}:sealed:{tenant}"


def quarantine_digest(tenant: Tenant, digest: str) -> str:
    """String: the entry of a quarantined payload with this digest; it expires."""
    return f"{{fhir:readings}}:digest:{tenant}:{digest}"


def topics(tenant: Tenant) -> str:
    """Hash: id -> a topic that was put through the API; `lua/write_topic.lua` describes the value."""
    return f"{{broker:topics}}:stored:{tenant}"


def deleted_topics(tenant: Tenant) -> str:
    """Hash: id of a topic that was deleted -> the version that its deletion was."""
    return f"{{broker:topics}}:deleted:{tenant}"


def validated_topics(tenant: Tenant) -> str:
    """Hash: canonical -> the document against which its subscriptions were last validated."""
    return f"{{broker:topics}}:validated:{tenant}"


def member(tenant: Tenant, subscription_id: str) -> str:
    """The name of a subscription in its shard's schedule and registry log."""
    return f"{tenant}:{subscription_id}"


def subscription_key(member: str | bytes) -> SubscriptionKey:
    """The subscription that a member names."""
    text = member.decode() if isinstance(member, bytes) else member
    tenant, _, subscription_id = text.partition(":")
    return Tenant(tenant), SubscriptionId(subscription_id)


def subscriptions(shard: int) -> str:
    """Prefix of the subscription hashes; append a member."""
    return f"{shard_tag(shard)}:subscription:"


def subscription(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """Hash; `lua/shared/subscription.lua` describes the fields."""
    return f"{shard_tag(shard)}:subscription:{tenant}:{subscription_id}"


def deleted_subscription(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """String: the version that the deletion of a subscription was, a space, and its owner. It expires."""
    return f"{shard_tag(shard)}:deleted-subscription:{tenant}:{subscription_id}"


def outboxes(shard: int) -> str:
    """Prefix of the outboxes; append a member."""
    return f"{shard_tag(shard)}:outbox:"


def outbox(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """Stream of events; the entry id is `<event number>-0`. `records.event_of` reads an entry."""
    return f"{shard_tag(shard)}:outbox:{tenant}:{subscription_id}"


def dead_events(shard: int, tenant: Tenant, subscription_id: str) -> str:
    """Sorted set of its events that are dead letters, scored by number (`dead_events.py`)."""
    return f"{shard_tag(shard)}:dead-letters:{tenant}:{subscription_id}"


def dead_event_index(shard: int, tenant: Tenant) -> str:
    """Hash: subscription id -> how many of its events are dead letters; only subscriptions that have any."""
    return f"{shard_tag(shard)}:dead-letter-index:{tenant}"


def members(shard: int, tenant: Tenant) -> str:
    """Sorted set by lexical order: the ids of a tenant's subscriptions in the shard."""
    return f"{tenant_members(shard)}{tenant}"


def listed(shard: int, tenant: Tenant) -> str:
    r"""Sorted set by lexical order: `label\x1fid` of a tenant's subscriptions; `listed_ids.py` reads it."""
    return f"{shard_tag(shard)}:listed:{tenant}"


def owned(shard: int, tenant: Tenant) -> str:
    """Hash: how many of a tenant's subscriptions in the shard each client owns."""
    return f"{shard_tag(shard)}:owned:{tenant}"


def tenant_members(shard: int) -> str:
    """Prefix of the sets of members; append a tenant."""
    return f"{shard_tag(shard)}:members:"


def tenants(shard: int) -> str:
    """Set of the tenants with subscriptions in the shard."""
    return f"{shard_tag(shard)}:tenants"


def due(shard: int) -> str:
    """Sorted set: member -> ms of Redis time at which a dispatcher has to look at it."""
    return f"{shard_tag(shard)}:due"


def registry(shard: int) -> str:
    """Stream that matchers follow: `member`, `operation` put|delete. Ids are `<ms>-<n>`, n without gaps."""
    return f"{shard_tag(shard)}:registry"


def fence(shard: int) -> str:
    """Hash: `token:<partition>` -> highest lease token seen; `last_rollback` -> the last one handled.

    `numbered:<partition>` -> how many events were numbered from the partition (`numbered_field`).
    """
    return f"{shard_tag(shard)}:fence"


def numbered_field(partition: int) -> str:
    return f"numbered:{partition}"


def shard_counters(shard: int) -> str:
    """Hash; `counters.py` lists the fields."""
    return f"{shard_tag(shard)}:counters"
