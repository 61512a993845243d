"""The elements of a Subscription that the server sets: id, version, time, status and error.

All others keep the client's spelling.
"""

import orjson

from broker.model import json_text
from broker.model.resource import Resource, UnversionedResource
from broker.model.subscription import Subscription


def with_server_elements(
    document: Resource, subscription: Subscription, *, with_error: bool = False
) -> Resource:
    """The document with the server's elements as they are now; the client's own are replaced (R-157). The
    document was checked when it was registered.
    """
    members = json_text.members(document.text)
    for name in ("status", "error", "_error"):
        members.pop(name, None)
    members["status"] = orjson.dumps(subscription.status)
    if with_error and subscription.error is not None:
        members["error"] = orjson.dumps(subscription.error)
    unversioned = UnversionedResource.of_members(
        "Subscription", subscription.id, members, has_meta="meta" in members
    )
    return unversioned.with_version(subscription.version, subscription.updated_ms)
