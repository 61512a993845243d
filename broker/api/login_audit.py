"""Authenticates requests, and records those that fail in the audit trail.

A principal that is not authenticated has no tenant: the entry is in the trail of the default tenant. An
address that fails again and again leaves one entry a second, which counts the others, so nobody can fill the
store this way.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import structlog
from starlette.types import Scope

from broker.api.authentication import Authenticate
from broker.errors import RequestError, StoreUnavailable, Unauthenticated
from broker.model.audit import UNKNOWN_AGENT, AuditAction, AuditEntry, AuditOutcome
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import ANONYMOUS, Principal
from broker.store.audit_journal import AuditJournal
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
_EVERY_S = 1.0
_ADDRESSES = 10_000


def address_of(scope: Scope) -> str:
    """The network address that a connection came from."""
    client = scope.get("client")
    return str(client[0]) if client else ""


class LoginAudit:
    """`authenticate` with a record of its failures. One a process."""

    def __init__(self, authenticate: Authenticate, journal: AuditJournal) -> None:
        self._authenticate = authenticate
        self._journal = journal
        self._failing: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """By address: when its last entry was recorded, and how many failures were not."""

    async def principal_of(
        self, headers: Mapping[str, str], address: str, is_public: Callable[[], bool] = lambda: False
    ) -> Principal:
        """Raises the `RequestError` of bad credentials.

        What is public is so for a request with an outdated token too: then the principal is nobody.
        """
        try:
            return await self._authenticate(headers)
        except RequestError as error:
            if isinstance(error, Unauthenticated) and is_public():
                return ANONYMOUS
            await self.record_failure(address, error.issues[0].code if error.issues else "login")
            raise

    async def record_failure(self, address: str, reason: str) -> None:
        """Records a failed authentication; `reason` is a code of ours."""
        now = time.monotonic()
        last, others = self._failing.get(address, (now - _EVERY_S, 0))
        if now - last < _EVERY_S:
            self._failing[address] = (last, others + 1)
            return
        self._failing[address] = (now, 0)
        self._failing.move_to_end(address)
        if len(self._failing) > _ADDRESSES:
            self._failing.popitem(last=False)
        detail = f"{reason}; {others} more before it" if others else reason
        entry = AuditEntry(
            AuditAction.AUTHENTICATE, AuditOutcome.MINOR_FAILURE, UNKNOWN_AGENT, address, detail
        )
        try:
            await self._journal.record(DEFAULT_TENANT, entry)
        except StoreUnavailable as error:  # the request is refused all the same
            metrics.store_errors.inc()
            _log.warning("failed authentication not in the audit trail", address=address, error=str(error))
