"""Records failed authentications in the audit trail: of requests to the API, and of logins to the console.

Who is not authenticated has no tenant: the entry is in the trail of the default tenant. An address that fails
again and again leaves one entry a second, which counts the others, so nobody can fill the store this way.
"""

import time
from collections import OrderedDict

import structlog

from broker.errors import StoreUnavailable
from broker.model.audit import UNKNOWN_AGENT, AuditAction, AuditEntry, AuditOutcome
from broker.model.change import DEFAULT_TENANT
from broker.store.audit_journal import AuditJournal
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
_EVERY_S = 1.0
_ADDRESSES = 10_000


class LoginFailures:
    """One a process."""

    def __init__(self, journal: AuditJournal) -> None:
        self._journal = journal
        self._failing: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """By address: when its last entry was recorded, and how many failures were not."""

    async def record(self, address: str, reason: str) -> None:
        """Records a failure at an address; `reason` is a code of ours."""
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
