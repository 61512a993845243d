"""The way in for readings: HTTP, the inbox stream and MQTT call `ReadingIntake.admit` and nothing else.

It returns when everything is durable: the Observations in the log of changes, and the payloads that did not
become any in quarantine. One bad payload never affects another. The same payload may come again after a crash
or a lost answer: its Observations are stored once and make one event.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.ingest.readings.formats import decode
from broker.ingest.readings.panels import WrittenMembers, incomplete
from broker.ingest.readings.quarantine import Waits, is_unchanged, to_quarantine
from broker.ingest.readings.resolution import PlannedObservation, Resolver, Unresolved
from broker.ingest.readings.unwritten import Unwritten
from broker.ingest.readings.values import RawReading, ReadingResult, ReadingStatus, StoredReading
from broker.ingest.readings.writing import ObservationWriter
from broker.mapping.decoders.undecodable import Undecodable
from broker.mapping.reading import MappedReading, PayloadMapper, ReadingProblem
from broker.mapping.units import load_ucum
from broker.store.dead_letter_id import DeadReadingId
from broker.store.quarantine import Quarantine
from broker.store.quarantined_payloads import Quarantined
from broker.telemetry import metrics, tracing
from broker.telemetry.logs import log_fields
from broker.telemetry.tracing import Span, SpanKind, Tracer

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_COUNTERS = {status: metrics.readings.labels(status) for status in ReadingStatus}


class _Outcome:
    """What became of one payload so far."""

    def __init__(self, raw: RawReading) -> None:
        self.raw = raw
        self.members = WrittenMembers()
        self._stored: dict[int, StoredReading] = {}
        self.problems: list[ReadingProblem] = []
        self.waits: Waits | None = None
        self.is_refused = False

    @property
    def observations(self) -> list[StoredReading]:
        """In the order in which the mapping gave their readings."""
        return [self._stored[place] for place in sorted(self._stored)]

    def add_observation(self, planned: "_Planned", stored: StoredReading) -> None:
        """The Observation is stored."""
        self._stored[planned.place] = stored
        self.members.add(planned.reading, planned.observation.id)

    def add_problem(self, problem: ReadingProblem, waits: Waits | None = None) -> None:
        self.problems.append(problem)
        if waits is not None and (self.waits is None or waits.effective < self.waits.effective):
            self.waits = waits

    @property
    def status(self) -> ReadingStatus:
        if self.problems:
            return ReadingStatus.REFUSED if self.is_refused else ReadingStatus.QUARANTINED
        if any(stored.status is ReadingStatus.ACCEPTED for stored in self._stored.values()):
            return ReadingStatus.ACCEPTED
        return ReadingStatus.DUPLICATE


class _Planned(NamedTuple):
    """An Observation to write: the payload that it is of, its place among the readings of the payload, its
    reading, and itself.
    """

    outcome: _Outcome
    place: int
    reading: MappedReading
    observation: PlannedObservation


class ReadingIntake:
    """`mapper` gives the mappings that are loaded at the moment."""

    def __init__(
        self,
        mapper: Callable[[], PayloadMapper],
        resolver: Resolver,
        writer: ObservationWriter,
        quarantine: Quarantine,
        tracer: Tracer = tracing.OFF,
    ) -> None:
        self._tracer = tracer
        self._mapper = mapper
        self._resolver = resolver
        self._writer = writer
        self._quarantine = quarantine
        self._is_prepared = False
        self._preparing = asyncio.Lock()

    async def admit(self, readings: Sequence[RawReading]) -> list[ReadingResult]:
        """What became of each payload, in their order.

        Raises `StoreUnavailable`: some may be stored; sending all of them again repeats nothing.
        """
        return await self._process(readings)

    async def admit_again(self, reading: RawReading, before: Quarantined) -> ReadingResult:
        """Processes a quarantined payload again; it leaves the quarantine when all of it is stored. One that
        fails for another reason than before gets another dead letter in its place.
        """
        (result,) = await self._process([reading], before)
        if result.status is not ReadingStatus.QUARANTINED:
            await self._quarantine.remove(reading.tenant, [before.entry])
        return result

    async def _process(
        self, readings: Sequence[RawReading], before: Quarantined | None = None
    ) -> list[ReadingResult]:
        if not self._is_prepared:
            await self._prepare()
        spans = [self._tracer.start("reading", SpanKind.INTERNAL, raw.trace) for raw in readings]
        outcomes = [
            _Outcome(raw._replace(trace=span.traceparent)) for raw, span in zip(readings, spans, strict=True)
        ]
        planned = await _all(self._plan(outcome) for outcome in outcomes)
        failpoints.hit("readings.before-commit")
        await self._write([each for row in planned for each in row])
        failpoints.hit("readings.after-commit")
        dead_letters: Mapping[int, str] = {}
        if any(outcome.problems for outcome in outcomes):
            dead_letters = await self._keep(outcomes, before)
        results = []
        for n, outcome in enumerate(outcomes):
            status = outcome.status
            _COUNTERS[status].inc()
            dead_letter = dead_letters.get(n, "")
            results.append(ReadingResult(status, outcome.observations, outcome.problems, dead_letter))
            _end(spans[n], outcome)
        return results

    async def _prepare(self) -> None:
        """Loads what a unit that is not tabulated needs, which would stop the event loop for a second."""
        async with self._preparing:
            if not self._is_prepared:
                await asyncio.to_thread(load_ucum)
                self._is_prepared = True

    async def _plan(self, outcome: _Outcome) -> list[_Planned]:
        """The Observations of the payload; its problems go into the outcome."""
        planned: list[_Planned] = []
        for place, mapped in enumerate(self._map(outcome)):
            if isinstance(mapped, ReadingProblem):
                outcome.add_problem(mapped)
                continue
            try:
                resolved = await self._resolver.resolve(outcome.raw, mapped)
                planned.append(_Planned(outcome, place, mapped, resolved))
            except Unresolved as error:
                outcome.add_problem(error.problem, error.waits)
                outcome.is_refused |= error.is_refused and not outcome.raw.keeps_refused
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 one bad reading must not stop the others
                # neither the text nor the traceback of the error: both may show values
                _log.error("reading failed", mapping=mapped.mapping, error=type(error).__name__)
                outcome.add_problem(_failed(mapped.mapping, error))
        return planned

    def _map(self, outcome: _Outcome) -> Sequence[MappedReading | ReadingProblem]:
        raw = outcome.raw
        try:
            return self._mapper().map(decode(raw), raw.received)
        except Undecodable as error:
            return [ReadingProblem("structure", "malformed", "", "", error.place, str(error))]
        except Exception as error:  # noqa: BLE001 as above
            _log.error("mapping failed", error=type(error).__name__)
            return [_failed("", error)]

    async def _write(self, planned: Sequence[_Planned]) -> None:
        """Writes the Observations: panels behind the others, because they refer to those that are stored."""
        await self._write_all(each for each in planned if not each.reading.members)
        panels = []
        for each in planned:
            if each.reading.members:
                members = each.outcome.members
                if missing := members.missing(each.reading):
                    each.outcome.add_problem(incomplete(each.reading, missing))
                else:
                    complete = members.complete(each.reading, each.observation)
                    panels.append(each._replace(observation=complete))
        await self._write_all(panels)

    async def _write_all(self, planned: Iterable[_Planned]) -> None:
        """Those with one id are written one after the other, in the order they came."""
        chains: dict[tuple[str, str], list[_Planned]] = {}
        for each in planned:
            chains.setdefault((each.outcome.raw.tenant, each.observation.id), []).append(each)
        await _all(self._write_chain(chain) for chain in chains.values())

    async def _write_chain(self, chain: Sequence[_Planned]) -> None:
        if chain[0].observation.window is not None:
            await self._merge(chain)
            return
        for planned in chain:
            outcome = planned.outcome
            try:
                stored = await self._writer.write(outcome.raw, planned.observation)
            except Unwritten as error:
                for problem in error.problems:
                    outcome.add_problem(problem)
            else:
                outcome.add_observation(planned, stored)

    async def _merge(self, chain: Sequence[_Planned]) -> None:
        results = await self._writer.merge([(each.outcome.raw, each.observation) for each in chain])
        for planned, result in zip(chain, results, strict=True):
            if isinstance(result, StoredReading):
                planned.outcome.add_observation(planned, result)
            else:
                for problem in result.problems:
                    planned.outcome.add_problem(problem)

    async def _keep(self, outcomes: Sequence[_Outcome], before: Quarantined | None) -> dict[int, str]:
        """Puts payloads with problems into quarantine; the ids of the dead letters, by position."""
        if before is not None and is_unchanged(before, outcomes[0].problems, outcomes[0].waits):
            return {0: str(DeadReadingId(before.entry))}
        chosen: dict[str, list[int]] = {}
        for n, outcome in enumerate(outcomes):
            if outcome.status is ReadingStatus.QUARANTINED:
                chosen.setdefault(outcome.raw.tenant, []).append(n)
                first = outcome.problems[0]
                _log.warning(
                    "reading quarantined",
                    reason=first.reason,
                    mapping=first.mapping,
                    field=first.field,
                    place=first.place,
                    tenant=outcome.raw.tenant,
                    **log_fields(outcome.raw.trace),
                )
        dead_letters: dict[int, str] = {}
        for indexes in chosen.values():
            tenant = outcomes[indexes[0]].raw.tenant
            replaces = "" if before is None else before.entry
            payloads = [
                to_quarantine(outcomes[n].raw, outcomes[n].problems, outcomes[n].waits, replaces)
                for n in indexes
            ]
            kept = await self._quarantine.keep(tenant, payloads)
            dead_letters |= {n: str(DeadReadingId(entry)) for n, entry in zip(indexes, kept, strict=True)}
        return dead_letters


def _end(span: Span, outcome: _Outcome) -> None:
    """A reading that is quarantined or refused is recorded always."""
    span.set("fhir_broker.tenant", outcome.raw.tenant)
    span.set("fhir_broker.reading.status", outcome.status)
    span.set("fhir_broker.reading.observations", len(outcome.observations))
    if outcome.problems:
        first = outcome.problems[0]
        span.set("fhir_broker.reading.mapping", first.mapping)
        span.fail(first.reason)
    span.end()


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> Sequence[T]:
    """The results, in their order. A single one, as of most requests, needs no task of its own."""
    coroutines = list(work)
    if len(coroutines) <= 1:
        return [await coroutine for coroutine in coroutines]
    return await asyncio.gather(*coroutines)


def _failed(mapping: str, error: Exception) -> ReadingProblem:
    text = (
        f"The broker failed on the reading: {type(error).__name__}. Report it with the time, or discard it."
    )
    return ReadingProblem("exception", "failed", mapping, "", "", text)
