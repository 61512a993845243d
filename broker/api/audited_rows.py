"""Which rows of the interaction table leave an entry in the audit trail, and as what.

A row is either audited or exempt with a reason; a test fails for a row that is neither. A write that succeeds
leaves its entry in the store together with the change, so its row is only recorded when it was refused, or
when it showed a stored resource instead of writing one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from broker.model.audit import AuditAction

Row = tuple[str, str]
"""Method and path of a row."""


class AuditRule(NamedTuple):
    """How a row is recorded. `is_stored_with_change`: the entry of a success is written by the store."""

    action: AuditAction
    is_stored_with_change: bool = False


_CREATED = AuditRule(AuditAction.CREATE, is_stored_with_change=True)
_UPDATED = AuditRule(AuditAction.UPDATE, is_stored_with_change=True)
_DELETED = AuditRule(AuditAction.DELETE, is_stored_with_change=True)
_CREATE, _UPDATE = AuditRule(AuditAction.CREATE), AuditRule(AuditAction.UPDATE)
_DELETE, _READ = AuditRule(AuditAction.DELETE), AuditRule(AuditAction.READ)
_VREAD, _SEARCH = AuditRule(AuditAction.VREAD), AuditRule(AuditAction.SEARCH)
_HISTORY = AuditRule(AuditAction.HISTORY)
_OPERATION, _TOKEN = AuditRule(AuditAction.OPERATION), AuditRule(AuditAction.TOKEN)

AUDITED: Mapping[Row, AuditRule] = {
    ("POST", "$business-event"): AuditRule(AuditAction.REPORT, is_stored_with_change=True),
    ("GET", "$dead-letters"): _OPERATION,
    ("POST", "$dead-letters"): _OPERATION,
    ("POST", "$redrive-dead-letters"): AuditRule(AuditAction.REDRIVE),
    ("POST", "$discard-dead-letters"): AuditRule(AuditAction.DISCARD),
    ("GET", "$export"): _OPERATION,
    ("POST", "$export"): _OPERATION,
    ("DELETE", "_export/{id}"): _OPERATION,
    ("GET", "_export/{id}/{file}"): _OPERATION,
    ("POST", "Subscription"): _CREATED,
    ("GET", "Subscription"): _SEARCH,
    ("GET", "Subscription/_search"): _SEARCH,
    ("POST", "Subscription/_search"): _SEARCH,
    ("GET", "Subscription/$status"): _OPERATION,
    ("POST", "Subscription/$status"): _OPERATION,
    ("GET", "Subscription/$get-ws-binding-token"): _TOKEN,
    ("POST", "Subscription/$get-ws-binding-token"): _TOKEN,
    ("POST", "Subscription/$dry-run"): _OPERATION,
    ("GET", "Subscription/{id}"): _READ,
    ("PUT", "Subscription/{id}"): _UPDATED,
    ("PATCH", "Subscription/{id}"): _UPDATED,
    ("DELETE", "Subscription/{id}"): _DELETED,
    ("PUT", "Subscription"): _UPDATED,
    ("PATCH", "Subscription"): _UPDATED,
    ("DELETE", "Subscription"): _DELETED,
    ("GET", "Subscription/{id}/_history/{version}"): _VREAD,
    ("GET", "Subscription/{id}/$status"): _OPERATION,
    ("POST", "Subscription/{id}/$status"): _OPERATION,
    ("GET", "Subscription/{id}/$events"): _OPERATION,
    ("POST", "Subscription/{id}/$events"): _OPERATION,
    ("GET", "Subscription/{id}/$get-ws-binding-token"): _TOKEN,
    ("POST", "Subscription/{id}/$get-ws-binding-token"): _TOKEN,
    ("POST", "Subscription/{id}/$resend"): _OPERATION,
    ("GET", "Subscription/{id}/$attempts"): _OPERATION,
    ("POST", "Subscription/{id}/$attempts"): _OPERATION,
    ("GET", "Subscription/{id}/$delivery"): _OPERATION,
    ("POST", "Subscription/{id}/$delivery"): _OPERATION,
    ("POST", "Subscription/{id}/$retry"): _OPERATION,
    ("POST", "Subscription/{id}/$rotate-secret"): _OPERATION,
    ("POST", "Subscription/{id}/$send-test"): _OPERATION,
    ("POST", "Subscription/{id}/$adopt"): AuditRule(AuditAction.ADMINISTER),
    ("POST", "Subscription/{id}/$explain"): _OPERATION,
    ("GET", "Subscription/{id}/$stream"): _OPERATION,
    ("POST", "SubscriptionTopic/$try"): _OPERATION,
    ("POST", "SubscriptionTopic"): _CREATE,
    ("PUT", "SubscriptionTopic/{id}"): _UPDATE,
    ("PATCH", "SubscriptionTopic/{id}"): _UPDATE,
    ("DELETE", "SubscriptionTopic/{id}"): _DELETE,
    ("POST", "Basic/$try"): _OPERATION,
    ("POST", "Basic"): _CREATE,
    ("PUT", "Basic/{id}"): _UPDATE,
    ("PATCH", "Basic/{id}"): _UPDATE,
    ("DELETE", "Basic/{id}"): _DELETE,
    ("GET", "Basic/{id}"): _READ,
    ("GET", "Device/{id}/$context"): _OPERATION,
    ("POST", "Device/{id}/$context"): _OPERATION,
    ("GET", "AuditEvent"): _SEARCH,
    ("GET", "AuditEvent/_search"): _SEARCH,
    ("POST", "AuditEvent/_search"): _SEARCH,
    ("GET", "AuditEvent/$export-trail"): _OPERATION,
    ("POST", "AuditEvent/$export-trail"): _OPERATION,
    ("GET", "AuditEvent/$verify-trail"): _OPERATION,
    ("POST", "AuditEvent/$verify-trail"): _OPERATION,
    ("GET", "AuditEvent/{id}"): _READ,
    ("GET", "AuditEvent/{id}/_history/{version}"): _VREAD,
    ("POST", "AuditEvent"): _CREATE,
    ("PUT", "AuditEvent"): _UPDATE,
    ("PATCH", "AuditEvent"): _UPDATE,
    ("DELETE", "AuditEvent"): _DELETE,
    ("PUT", "AuditEvent/{id}"): _UPDATE,
    ("PATCH", "AuditEvent/{id}"): _UPDATE,
    ("DELETE", "AuditEvent/{id}"): _DELETE,
    ("GET", "Observation/$lastn"): _OPERATION,
    ("POST", "Observation/$lastn"): _OPERATION,
    ("POST", "{type}"): _CREATED,
    ("PUT", "{type}"): _UPDATED,
    ("PATCH", "{type}"): _UPDATED,
    ("DELETE", "{type}"): _DELETED,
    ("GET", "{type}"): _SEARCH,
    ("GET", "{type}/_search"): _SEARCH,
    ("POST", "{type}/_search"): _SEARCH,
    ("GET", "{type}/{id}"): _READ,
    ("PUT", "{type}/{id}"): _UPDATED,
    ("PATCH", "{type}/{id}"): _UPDATED,
    ("DELETE", "{type}/{id}"): _DELETED,
    ("GET", "{type}/{id}/_history/{version}"): _VREAD,
    ("GET", "_history"): _HISTORY,
    ("GET", "{type}/_history"): _HISTORY,
    ("GET", "{type}/{id}/_history"): _HISTORY,
}
BUNDLE: Row = ("POST", "")
_TOPICS = "topics hold no patient data; changes of topics are audited"
_DEFINITIONS = "describes the broker, holds no patient data"
_NOTHING_STORED = "reaches no stored data: the resource comes with the request and is not kept"
_REFUSED = "reaches no data: the broker refuses every such search or change"

EXEMPT: Mapping[Row, str] = {
    BUNDLE: "each entry is audited by its own row; only a Bundle that is refused as a whole is an entry",
    ("GET", "metadata"): _DEFINITIONS,
    ("GET", "_export/{id}"): "lists the files of an export, which are audited when they are read",
    ("GET", ".well-known/smart-configuration"): _DEFINITIONS,
    ("GET", "SubscriptionTopic"): _TOPICS,
    ("GET", "SubscriptionTopic/_search"): _TOPICS,
    ("POST", "SubscriptionTopic/_search"): _TOPICS,
    ("GET", "SubscriptionTopic/{id}"): _TOPICS,
    ("PUT", "SubscriptionTopic"): _REFUSED,
    ("PATCH", "SubscriptionTopic"): _REFUSED,
    ("DELETE", "SubscriptionTopic"): _REFUSED,
    ("PUT", "Basic"): _REFUSED,
    ("GET", "Basic"): _TOPICS,
    ("GET", "Basic/_search"): _TOPICS,
    ("POST", "Basic/_search"): _TOPICS,
    ("GET", "OperationDefinition"): _DEFINITIONS,
    ("GET", "OperationDefinition/_search"): _DEFINITIONS,
    ("POST", "OperationDefinition/_search"): _DEFINITIONS,
    ("GET", "OperationDefinition/{id}"): _DEFINITIONS,
    ("POST", "{type}/$validate"): _NOTHING_STORED,
    ("POST", "{type}/{id}/$validate"): _NOTHING_STORED,
}
