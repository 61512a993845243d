"""Records what passes the interaction table in the audit trail, before the response leaves.

If an entry cannot be made durable, the request is answered by 503 and nothing is shown: `StoreUnavailable`
goes to the caller.
"""

import re

from broker.api.audited_rows import AUDITED, BUNDLE, AuditRule, Row
from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import BrokerError, Forbidden, RequestError, StoreUnavailable
from broker.model.audit import AuditAction, AuditEntity, AuditEntry, AuditOutcome
from broker.store.audit_journal import AuditJournal

_LOCATION = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})(?:/_history/(\d+))?$")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_ETAG = re.compile(r'W/"(\d+)"')
_LIMIT = 500
"""The number of resources that one entry names; more follow in entries of their own."""
_ACTION_OF_METHOD = {
    "GET": AuditAction.READ,
    "POST": AuditAction.CREATE,
    "PUT": AuditAction.UPDATE,
    "PATCH": AuditAction.UPDATE,
    "DELETE": AuditAction.DELETE,
}


class Auditor:
    """Makes entries of requests and responses. `rows` that are exempt leave none."""

    def __init__(self, journal: AuditJournal) -> None:
        self._journal = journal

    async def record(self, row: Row, request: FhirRequest, response: FhirResponse) -> None:
        """The entry of a request that succeeded. Raises `StoreUnavailable`."""
        rule = AUDITED.get(row)
        if rule is None:
            return
        action, entities = rule.action, tuple(response.accessed)
        if rule.is_stored_with_change:
            if not entities:
                return
            action = AuditAction.READ  # it wrote nothing and showed what is stored
        else:
            entities = (*_named(request, response, entities), *entities)
        detail = f"{_operation(request)} {response.audit_detail}".strip()
        await self._record(request, action, AuditOutcome.SUCCESS, detail, entities)

    async def record_failure(self, row: Row, request: FhirRequest, error: BrokerError) -> None:
        """The entry of a request that was refused, or that the broker failed on."""
        rule = AuditRule(AuditAction.OPERATION) if row == BUNDLE else AUDITED.get(row)
        if rule is None or isinstance(error, StoreUnavailable):
            return  # nothing was done, and the store that would take the entry does not answer
        reason = error.issues[0].code if isinstance(error, RequestError) else type(error).__name__
        detail = f"{'Bundle' if row == BUNDLE else _operation(request)} {reason}".strip()
        entities = _named(request, FhirResponse(), ())
        await self._record(request, rule.action, AuditOutcome.MINOR_FAILURE, detail, entities)

    async def record_forbidden(self, request: FhirRequest, error: Forbidden) -> None:
        """The entry of a request whose principal lacks the access, whatever its row."""
        action = AuditAction.OPERATION if "$" in request.path else _ACTION_OF_METHOD[request.method]
        detail = f"{_operation(request)} {error.issues[0].code}".strip()
        entities = _named(request, FhirResponse(), ())
        await self._record(request, action, AuditOutcome.MINOR_FAILURE, detail, entities)

    async def _record(
        self,
        request: FhirRequest,
        action: AuditAction,
        outcome: AuditOutcome,
        detail: str,
        entities: tuple[AuditEntity, ...],
    ) -> None:
        principal = request.principal
        entry = AuditEntry(action, outcome, principal.client_id, request.address, detail)
        for start in range(0, max(1, len(entities)), _LIMIT):
            part = entities[start : start + _LIMIT]
            await self._journal.record(principal.tenant, entry._replace(entities=part))


def _operation(request: FhirRequest) -> str:
    """The operation of a path, such as `$events`; '' without one."""
    last = request.path.rpartition("/")[2]
    return last if last.startswith("$") else ""


def _named(
    request: FhirRequest, response: FhirResponse, accessed: tuple[AuditEntity, ...]
) -> tuple[AuditEntity, ...]:
    """The resource that the request is about: that of the Location, else that of the path."""
    location = _LOCATION.search(response.headers.get("Location", ""))
    if location is not None:
        entity = AuditEntity(location[1], location[2], int(location[3] or 0))
    else:
        parts = request.path.split("/")
        if len(parts) < 2 or not (parts[0].isalpha() and _ID.fullmatch(parts[1])):
            return ()
        etag = _ETAG.fullmatch(response.headers.get("ETag", ""))
        entity = AuditEntity(parts[0], parts[1], int(etag[1]) if etag else 0)
    is_known = any((each.type, each.id) == (entity.type, entity.id) for each in accessed)
    return () if is_known else (entity,)
