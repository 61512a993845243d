"""Admits the entries of the inbox stream, through a decoder and the same intake as HTTP requests.

The inbox worker calls it.
"""

import asyncio
from collections.abc import Sequence

import structlog

from broker.errors import Issue, RequestError, StoreUnavailable
from broker.fhir.outcomes import operation_outcome
from broker.ingest.decoder import Decoder
from broker.ingest.intake import Intake
from broker.store.inbox import InboxEntry, Refusal

_log = structlog.get_logger(__name__)


class InboxIntake:
    """Admits entries in order and separates those that are refused."""

    def __init__(self, intake: Intake, decoder: Decoder) -> None:
        self._intake = intake
        self._decoder = decoder

    async def admit(self, entries: Sequence[InboxEntry]) -> tuple[list[InboxEntry], list[Refusal]]:
        """The accepted and the refused entries. Raises `StoreUnavailable`: read the entries again later."""
        results = await asyncio.gather(*(self._admit(entry) for entry in entries), return_exceptions=True)
        accepted: list[InboxEntry] = []
        refused: list[Refusal] = []
        for entry, result in zip(entries, results, strict=True):
            match result:
                case None:
                    accepted.append(entry)
                case RequestError():
                    refused.append(_refusal(entry, result.issues))
                case StoreUnavailable() | asyncio.CancelledError():
                    raise result
                case BaseException():
                    # an entry that makes the code fail must not stop those behind it
                    _log.error("inbox entry failed", entry=entry.id, exc_info=result)
                    issue = Issue("exception", f"the broker failed on the entry: {type(result).__name__}")
                    refused.append(_refusal(entry, [issue]))
        return accepted, refused

    async def _admit(self, entry: InboxEntry) -> None:
        """Accepts the changes of an entry in order. If one is refused, those before it stay accepted."""
        for request in self._decoder.decode(entry):
            admission = await self._intake.admit(request)
            if admission.warnings:
                texts = [issue.text for issue in admission.warnings]
                _log.warning("inbox entry accepted with warnings", entry=entry.id, warnings=texts)


def _refusal(entry: InboxEntry, issues: Sequence[Issue]) -> Refusal:
    return Refusal(entry, "; ".join(issue.text for issue in issues), operation_outcome(issues))
