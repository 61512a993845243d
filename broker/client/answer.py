"""What the answer to a message means for the producer: settled, or to be repeated, and when. Pure."""

import email.utils
import json
import random
import time
from dataclasses import dataclass
from enum import StrEnum

import httpx

from broker.errors import ConfigurationError

MAX_RETRY_AFTER_S = 3_600.0
"""A server cannot make a producer wait longer than this before it asks again."""
_MAX_REASON = 500


class Verdict(StrEnum):
    """What to do with the message."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The broker will not take this message, whenever it is sent."""
    FAILED = "failed"
    """500: the broker failed on this message. A repetition may succeed, or fail for ever."""
    DENIED = "denied"
    """401 or 403: the credentials do not allow it. Nothing is wrong with the message."""
    UNAVAILABLE = "unavailable"
    """No answer, or one that asks to come again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one message. `status` is 0 where there was none; `body` is what the broker wrote."""

    verdict: Verdict
    status: int
    reason: str = ""
    retry_after_s: float = 0.0
    location: str = ""
    body: bytes = b""

    @property
    def is_accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPTED


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long apart a message is sent.

    The pause doubles from `base_s` to `max_s`, less a random part of up to a half, and is never shorter than
    the Retry-After of the answer. `attempts` bounds `send`; what is in a buffer is sent until it is settled.
    `attempts_on_failure` bounds the attempts of one buffered message that the broker answers with 500.
    """

    attempts: int = 8
    base_s: float = 0.25
    max_s: float = 60.0
    attempts_on_failure: int = 5

    def pause_s(self, failures: int, retry_after_s: float = 0.0) -> float:
        """Seconds until the next attempt, after so many in a row without success."""
        longest = min(self.max_s, self.base_s * 2.0 ** min(failures - 1, 30))
        return max(retry_after_s, longest * random.uniform(0.5, 1.0))


def answer_of(result: httpx.Response | Exception) -> Answer:
    """The meaning of a response, or of the error instead of one. Errors of the program are raised again."""
    if isinstance(result, httpx.HTTPError):
        return Answer(Verdict.UNAVAILABLE, 0, f"no answer ({type(result).__name__})")
    if isinstance(result, ConfigurationError):  # of the access token
        return Answer(Verdict.DENIED, 0, str(result))
    if isinstance(result, Exception):
        raise result
    verdict = _verdict(result.status_code)
    return Answer(
        verdict,
        result.status_code,
        "" if verdict is Verdict.ACCEPTED else _reason(result),
        _retry_after_s(result.headers.get("Retry-After", "")),
        result.headers.get("Location", ""),
        result.content,
    )


def _verdict(status: int) -> Verdict:
    if 200 <= status < 300:
        return Verdict.ACCEPTED
    if status in {401, 403}:
        return Verdict.DENIED
    if status == 500:
        return Verdict.FAILED
    if status in {408, 425, 429} or status > 500 or status < 400:
        return Verdict.UNAVAILABLE
    return Verdict.REFUSED


def _retry_after_s(text: str) -> float:
    """Seconds of a Retry-After header in either form (RFC 9110, 10.2.3); 0 for any other text."""
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _reason(response: httpx.Response) -> str:
    """The texts of the OperationOutcome, or the beginning of what came instead."""
    try:
        body = json.loads(response.content)
        text = "; ".join(issue["diagnostics"] for issue in body["issue"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = " ".join(response.content[:_MAX_REASON].decode(errors="replace").split())
    return (text or response.reason_phrase)[:_MAX_REASON]
