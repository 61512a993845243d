"""Sends recorded spans to the collector of the operator, as OTLP over HTTP.

Nothing waits for it: spans wait in a bounded queue, and those that find it full are dropped and counted. A
collector that does not answer gets the same request again after a pause; one that refuses a request loses the
spans of it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from http import HTTPStatus

import structlog

from broker.egress.http import HttpFailure, HttpPost, HttpResponse
from broker.tasks import first_of, sleep_unless
from broker.telemetry import metrics
from broker.telemetry.tracing import RecordedSpan, SpanQueue

_log = structlog.get_logger(__name__)
INTERVAL_S = 1.0
"""How long a span waits for others, at most."""
TIMEOUT_S, _LAST_TIMEOUT_S = 10.0, 2.0
_MIN_PAUSE_S, _MAX_PAUSE_S = 1.0, 30.0
_RETRYABLE = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""What OTLP calls retryable."""


class TraceExporter:
    """`run` returns after `stop` is set and the spans that waited were sent once, or lost."""

    def __init__(
        self,
        queue: SpanQueue,
        encode: Callable[[Sequence[RecordedSpan]], bytes],
        post: HttpPost,
        url: str,
        headers: tuple[tuple[str, str], ...],
        stop: asyncio.Event,
    ) -> None:
        self._queue = queue
        self._encode = encode
        self._post = post
        self._url = url
        self._headers = (("Content-Type", "application/x-protobuf"), *headers)
        self._stop = stop
        self._problem = ""
        self._is_given_up = False

    async def run(self) -> None:
        while not self._stop.is_set():
            await self._wait_for_spans()
            while spans := self._queue.take():
                metrics.trace_spans.labels(await self._send(spans)).inc(len(spans))

    async def _wait_for_spans(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INTERVAL_S):
                await first_of(self._queue.has_batch.wait(), self._stop)

    async def _send(self, spans: Sequence[RecordedSpan]) -> str:
        """What became of the spans. Waits for a collector that is unavailable until a stop is requested: then
        each batch is sent once, until the first that does not arrive.
        """
        if self._is_given_up:
            return "lost"
        body = await asyncio.to_thread(self._encode, spans)
        pause_s = _MIN_PAUSE_S
        while True:
            is_last = self._stop.is_set()
            answer = await self._post(
                self._url,
                headers=self._headers,
                body=body,
                timeout_s=_LAST_TIMEOUT_S if is_last else TIMEOUT_S,
            )
            problem = _problem(answer)
            self._report(problem)
            if not problem:
                return "sent"
            if not _is_transient(answer):
                return "refused"
            if is_last:
                self._is_given_up = True
                return "lost"
            await sleep_unless(self._stop, pause_s)
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)

    def _report(self, problem: str) -> None:
        """One line when the collector stops to take spans, and one when it takes them again."""
        if problem and not self._problem:
            _log.warning("traces not sent; delivery continues, spans wait or are dropped", reason=problem)
        elif self._problem and not problem:
            _log.info("traces are sent again")
        self._problem = problem


def _problem(answer: HttpResponse | HttpFailure) -> str:
    if isinstance(answer, HttpFailure):
        return answer.text
    return "" if 200 <= answer.status < 300 else f"the collector answered {answer.status}"


def _is_transient(answer: HttpResponse | HttpFailure) -> bool:
    return isinstance(answer, HttpFailure) or answer.status in _RETRYABLE
