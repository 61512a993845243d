"""What one client may ask of this process at the same time and in a second.

A client at its limit gets 429, and nobody else notices. With access control every client has limits of its
own; the principal of an open broker has none, unless the operator wants them for it.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator

from broker.errors import Issue, TooMany
from broker.model.principal import OPEN_PRINCIPAL, ClientKey, Principal
from broker.rates import Rates

_RECONNECT_S = 5
_BURST_S = 2
"""After a pause a client may send at once what it may send in this time."""


class ClientLimits:
    """One a process. Zero stands for no limit."""

    def __init__(self, *, request_rate: int, max_connections: int, limits_open: bool) -> None:
        self._rate = request_rate
        self._rates: Rates[ClientKey] | None = None
        if request_rate:
            self._rates = Rates(request_rate, request_rate * _BURST_S)
        self._max_connections = max_connections
        self._limits_open = limits_open
        self._connections: Counter[ClientKey] = Counter()

    def admit(self, principal: Principal) -> None:
        """Counts a request; raises `TooMany` above the client's rate. Nobody in particular has no limit."""
        if self._rates is None or principal.is_anonymous or self._is_exempt(principal.client):
            return
        wait_s = self._rates.take(principal.client)
        if wait_s:
            text = (
                f"The client sends more than {self._rate} requests a second (BROKER_REQUEST_RATE). "
                "Send the request again after Retry-After."
            )
            raise TooMany(Issue("throttled", text), limit="requests", retry_after_s=max(1, math.ceil(wait_s)))

    def check_connection(self, client: ClientKey) -> None:
        """Raises `TooMany` if the client may not open another connection."""
        if not self._max_connections or self._is_exempt(client):
            return
        if self._connections[client] >= self._max_connections:
            text = (
                f"The client has {self._max_connections} websockets and event streams open "
                "(BROKER_MAX_CONNECTIONS). Close one first."
            )
            raise TooMany(Issue("throttled", text), limit="connections", retry_after_s=_RECONNECT_S)

    @contextlib.contextmanager
    def connection(self, client: ClientKey) -> Iterator[None]:
        """A connection of the client, open for as long as the block runs."""
        self._connections[client] += 1
        try:
            yield
        finally:
            self._connections[client] -= 1
            if not self._connections[client]:
                del self._connections[client]

    def _is_exempt(self, client: ClientKey) -> bool:
        return not self._limits_open and client == OPEN_PRINCIPAL.client
