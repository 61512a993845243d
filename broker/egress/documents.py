"""Fetches JSON documents, such as key sets, from addresses that may be contacted: `DocumentClient`.

The rules of `client.EgressClient` hold: a literal address is judged from the URL, a name after its lookup, no
redirects, no cookies, no proxy but the operator's own. Each document has a connection of its own, because one
is fetched every few minutes.
"""

import asyncio
import ssl
from types import TracebackType
from typing import NamedTuple, Self

from broker.egress.addresses import Allowance, check_url
from broker.egress.caching import lifetime_s
from broker.egress.connector import Connector
from broker.egress.failures import failure_of
from broker.egress.http_connection import ConnectionEnded, HttpAnswer, NotHttp, ResponseLimits
from broker.egress.proxy import Proxy
from broker.egress.requests import NotSendable, Target, get_request
from broker.egress.resolver import Resolve, Resolver

TIMEOUT_S = 5.0
MAX_BYTES = 262_144
_JSON = "application/json"


class Document(NamedTuple):
    """The body of a 200, and for how many seconds it may be kept (None: the server does not say)."""

    body: bytes
    lifetime_s: float | None


class NotFetched(Exception):  # noqa: N818 an expected result
    """There is no document. The text says why, in words for an operator."""


class DocumentClient:
    """One a process, a context manager. `resolve` is a parameter for tests."""

    def __init__(
        self,
        allowance: Allowance,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        resolve: Resolve | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._allowance = allowance
        # one byte more, to distinguish a document of the largest size from one that was cut; and time for it
        limits = ResponseLimits(MAX_BYTES + 1, body_s=timeout_s)
        self._connector = Connector(Resolver(allowance, resolve), tls=tls, proxy=proxy, limits=limits)
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connector.close()

    async def get(self, url: str) -> Document:
        """The document at the URL. Raises `NotFetched`."""
        problems = check_url(url, self._allowance)
        if problems:
            raise NotFetched(problems[0])
        target = Target.of(url)
        try:
            answer = await self._exchange(target)
        except NotSendable as error:
            raise NotFetched(f"the request could not be sent: {error}") from error
        except TimeoutError as error:
            raise NotFetched(f"no answer within {self._timeout_s:g} s") from error
        except (OSError, ConnectionEnded, NotHttp) as error:
            raise NotFetched(failure_of(error, target).text) from error
        if answer.status != 200:
            raise NotFetched(f"the answer is {answer.status}, and only 200 is accepted, without redirects")
        if len(answer.body) > MAX_BYTES:
            raise NotFetched(f"the document is longer than {MAX_BYTES} bytes")
        return Document(answer.body, lifetime_s(answer.caching))

    async def _exchange(self, target: Target) -> HttpAnswer:
        request = get_request(target, _JSON)
        async with asyncio.timeout(self._timeout_s):
            connection = await self._connector.connect(target)
            try:
                deadline = asyncio.get_running_loop().time() + self._timeout_s
                return await connection.exchange(request, deadline)
            finally:
                connection.close()
