"""The interface of sending over HTTP: one request in, a response or a failure out.

Channels depend on this interface only, so a test can pass a function. `client.EgressClient.post` and `send`
are the implementation.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


class HttpResponse(NamedTuple):
    """The endpoint answered. `body` holds at most the first bytes of its body, up to the client's limit."""

    status: int
    retry_after_s: float | None
    body: bytes
    location: str = ""


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """The endpoint did not answer, or may not be contacted.

    The subscriber may see `text`: it holds no looked-up address and no part of the URL but its host.
    """

    kind: Literal["dns", "refused-address", "no-response"]
    text: str


class HttpPost(Protocol):
    """One POST within `timeout_s`."""

    async def __call__(
        self,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        """Sends the headers as they are given, repeated names included, and those that differ in each
        attempt, with the client certificate that the tenant has for the endpoint. Raises only
        `CancelledError`.
        """
        ...


class HttpSend(Protocol):
    """One request of any method within `timeout_s`; else as `HttpPost`."""

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        """Sends the request, and once more on a new connection if a kept one was closed before it answered a
        byte. Raises only `CancelledError`.
        """
        ...
