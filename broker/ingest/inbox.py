"""Admits the entries of the inbox stream, through a decoder and the same intake as HTTP requests. An entry
with the field `reading` has payloads of devices, which go through `ReadingIntake`.

The inbox worker calls it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

import structlog

from broker.clock import Clock
from broker.errors import Issue, RequestError, StoreUnavailable
from broker.fhir.outcomes import operation_outcome
from broker.ingest.decoder import Decoder, Transaction, traceparent_of
from broker.ingest.intake import Intake
from broker.ingest.readings.inbox import FIELD, decode_readings
from broker.ingest.readings.intake import ReadingIntake
from broker.ingest.readings.values import RawReading
from broker.ingest.requests import Admission, ChangeRequest
from broker.ingest.transactions import submit_transaction
from broker.store.inbox import InboxEntry, Refusal
from broker.telemetry import current_request, tracing
from broker.telemetry.tracing import SpanKind, Tracer

_log = structlog.get_logger(__name__)


class InboxIntake:
    """Admits entries in order and separates those that are refused."""

    def __init__(
        self,
        intake: Intake,
        decoder: Decoder,
        readings: ReadingIntake,
        clock: Clock,
        tracer: Tracer = tracing.OFF,
    ) -> None:
        self._tracer = tracer
        self._intake = intake
        self._decoder = decoder
        self._readings = readings
        self._clock = clock

    async def admit(self, entries: Sequence[InboxEntry]) -> tuple[list[InboxEntry], list[Refusal]]:
        """The accepted and the refused entries. Raises `StoreUnavailable`: read the entries again later."""
        results = await self._admit_in_order(entries)
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

    async def _admit_in_order(self, entries: Sequence[InboxEntry]) -> list[BaseException | None]:
        """What became of each entry. Entries with readings, and those without, are processed run by run."""
        results: list[BaseException | None] = []
        for is_reading, group in groupby(entries, lambda entry: FIELD in entry.fields):
            run = list(group)
            results += await (self._admit_readings(run) if is_reading else self._admit_changes(run))
        return results

    async def _admit_readings(self, entries: Sequence[InboxEntry]) -> list[BaseException | None]:
        """Readings of one run are admitted together, in their order. What does not become an Observation is
        in quarantine; only an entry that does not say what its reading is is refused.
        """
        results: list[BaseException | None] = [None] * len(entries)
        readings: list[RawReading] = []
        received = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        for n, entry in enumerate(entries):
            try:
                readings += decode_readings(entry, received)
            except RequestError as error:
                results[n] = error
        await self._readings.admit(readings)
        return results

    async def _admit_changes(self, entries: Sequence[InboxEntry]) -> list[BaseException | None]:
        """What became of each entry. The changes between two transactions share a group commit, which keeps
        their order; a transaction waits for the changes before it.
        """
        results: list[BaseException | None] = []
        waiting: list[Awaitable[None]] = []
        for entry in entries:
            decoded: Sequence[ChangeRequest] | Transaction | Exception
            try:
                decoded = self._decoder.decode(entry)
            except Exception as error:  # noqa: BLE001 `admit` tells the kinds apart
                decoded = error
            if isinstance(decoded, Transaction):
                results += await asyncio.gather(*waiting, return_exceptions=True)
                waiting = []
                results += await asyncio.gather(self._submit(entry, decoded), return_exceptions=True)
            else:
                waiting.append(self._admit(entry, decoded))
        return results + await asyncio.gather(*waiting, return_exceptions=True)

    async def _admit(self, entry: InboxEntry, decoded: Sequence[ChangeRequest] | Exception) -> None:
        """Accepts the changes of an entry in order. If one is refused, those before it stay accepted."""
        with self._traced(entry):
            if isinstance(decoded, Exception):
                raise decoded
            for request in decoded:
                _log_warnings(entry, [await self._intake.admit(request)])

    async def _submit(self, entry: InboxEntry, transaction: Transaction) -> None:
        """Accepts all changes of a transaction or none."""
        with self._traced(entry):
            _log_warnings(entry, await submit_transaction(self._intake, transaction.entries))

    @contextlib.contextmanager
    def _traced(self, entry: InboxEntry) -> Iterator[None]:
        """The span of an entry, which is admitted by a task of its own. Its changes carry the trace."""
        span = self._tracer.start("inbox entry", SpanKind.CONSUMER, traceparent_of(entry))
        current_request.begin(span.traceparent)
        try:
            yield
        except Exception as error:
            span.fail(type(error).__name__)
            raise
        finally:
            span.end()


def _log_warnings(entry: InboxEntry, admissions: Sequence[Admission]) -> None:
    texts = [issue.text for admission in admissions for issue in admission.warnings]
    if texts:
        _log.warning("inbox entry accepted with warnings", entry=entry.id, warnings=texts)


def _refusal(entry: InboxEntry, issues: Sequence[Issue]) -> Refusal:
    return Refusal(entry, "; ".join(issue.text for issue in issues), operation_outcome(issues))
