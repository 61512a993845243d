"""What the producers for threads and for asyncio have in common: what to send next, and what an answer means
for it. It opens no connection and never waits.
"""

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from broker.client.answer import Answer, RetryPolicy, Verdict, answer_of
from broker.client.buffer import Buffered, OfflineBuffer, Refused
from broker.client.errors import ClientError, NotSent
from broker.client.message import Message

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a producer has done since it was made; `waiting` and `aside` are of its buffer, now.

    `problem` says why the last attempt did not succeed; it is empty after a success.
    """

    accepted: int = 0
    refused: int = 0
    retries: int = 0
    waiting: int = 0
    aside: int = 0
    problem: str = ""


class ProgressCounter:
    """Counts from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress = Progress()

    def note(self, answer: Answer) -> None:
        with self._lock:
            progress = self._progress
            match answer.verdict:
                case Verdict.ACCEPTED:
                    self._progress = replace(progress, accepted=progress.accepted + 1, problem="")
                case Verdict.REFUSED:
                    refused = progress.refused + 1
                    self._progress = replace(progress, refused=refused, problem=answer.reason)
                case _:
                    retries = progress.retries + 1
                    self._progress = replace(progress, retries=retries, problem=answer.reason)

    def fail(self, problem: str) -> None:
        """Notes what stopped the sending from the buffer for a while."""
        with self._lock:
            self._progress = replace(self._progress, problem=problem)

    def read(self) -> Progress:
        with self._lock:
            return self._progress


class Attempts:
    """The attempts to send one message at once. `settle` returns the answer that ends them, or the pause in
    seconds before the next one.
    """

    def __init__(self, policy: RetryPolicy, counter: ProgressCounter) -> None:
        self._policy = policy
        self._counter = counter
        self._failures = 0

    def settle(self, result: httpx.Response | Exception) -> Answer | float:
        """Raises `NotSent` after the last attempt, and what `result` is if the program has to handle it."""
        answer = answer_of(result)
        self._counter.note(answer)
        if answer.verdict in {Verdict.ACCEPTED, Verdict.REFUSED} or answer.status in {401, 403}:
            return answer
        self._failures += 1
        if self._failures >= self._policy.attempts:
            if isinstance(result, Exception) and not isinstance(result, httpx.HTTPError):
                raise result
            raise NotSent(
                f"The broker did not take the message in {self._failures} attempts: {answer.reason} "
                "Send it again later, with the same key."
            )
        return self._policy.pause_s(self._failures, answer.retry_after_s)


class Outbox:
    """Sends what is in a buffer, in order: take `next`, send it, and report with `settle`."""

    def __init__(self, buffer: OfflineBuffer, policy: RetryPolicy, counter: ProgressCounter) -> None:
        self.buffer = buffer
        self._policy = policy
        self._counter = counter
        self._failures = 0

    def next(self) -> Buffered | None:
        """The message that has waited longest; None if none waits."""
        return next(iter(self.buffer.first(1)), None)

    def settle(self, buffered: Buffered, result: httpx.Response | Exception) -> float:
        """Returns the pause in seconds before the next message is taken, which may be the same one."""
        answer = answer_of(result)
        fails_again = (
            answer.verdict is Verdict.FAILED and buffered.failures + 1 >= self._policy.attempts_on_failure
        )
        if fails_again:
            answer = replace(answer, verdict=Verdict.REFUSED)
        self._counter.note(answer)
        match answer.verdict:
            case Verdict.ACCEPTED:
                self.buffer.settle([buffered])
            case Verdict.REFUSED:
                refused = Refused(buffered.number, buffered.message, answer.status, answer.reason)
                self.buffer.settle([], [refused])
            case _:
                if answer.verdict is Verdict.FAILED:
                    self.buffer.count_failure(buffered.number)
                self._failures += 1
                return self._policy.pause_s(self._failures, answer.retry_after_s)
        self._failures = 0
        return 0.0

    def fail(self, error: Exception) -> float:
        """Reports an error of the producer itself; the pause before the next attempt."""
        _log.error("sending from the buffer failed; it goes on after a pause", exc_info=error)
        self._counter.fail(f"{type(error).__name__}: {error}")
        self._failures += 1
        return self._policy.pause_s(self._failures)

    def progress(self) -> Progress:
        counts = self.buffer.counts()
        return replace(self._counter.read(), waiting=counts.waiting, aside=counts.aside)


class BaseProducer:
    """The part of a producer that does not wait: its broker, its policy, its progress, and its outbox if it
    has a buffer.

    Raises `BufferInUse` and `BufferUnusable`, and `ValueError` for a `base` that is no URL.
    """

    def __init__(
        self, base: str, buffer: Path | None, max_messages: int, max_bytes: int, policy: RetryPolicy | None
    ) -> None:
        self.base = checked_base(base)
        self._policy = policy or RetryPolicy()
        self._counter = ProgressCounter()
        self._outbox: Outbox | None = None
        if buffer is not None:
            opened = OfflineBuffer(buffer, max_messages=max_messages, max_bytes=max_bytes)
            self._outbox = Outbox(opened, self._policy, self._counter)

    @property
    def buffer(self) -> OfflineBuffer:
        """Raises `ClientError` without one."""
        return self._buffered().buffer

    @property
    def progress(self) -> Progress:
        return self._counter.read() if self._outbox is None else self._outbox.progress()

    def _buffered(self) -> Outbox:
        if self._outbox is None:
            raise ClientError("This producer has no buffer. Name its file when you make the producer.")
        return self._outbox

    def _attempts(self) -> Attempts:
        return Attempts(self._policy, self._counter)

    def _request_of(self, client: httpx.Client | httpx.AsyncClient, message: Message) -> httpx.Request:
        headers = {
            "Content-Type": message.content_type,
            "Idempotency-Key": message.key,
            "Prefer": "return=minimal",
        }
        url = f"{self.base}/{message.path}"
        return client.build_request(message.method, url, content=message.body, headers=headers)


def checked_base(base: str) -> str:
    """The URL of a broker, without a slash at its end. Raises `ValueError` for another text."""
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL as error:
        raise ValueError(f"{base} is no URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{base} is no URL of a broker; one is like http://127.0.0.1:8080")
    return base.rstrip("/")
