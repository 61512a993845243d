"""Authentication: which principal sends a request.

An `Authenticate` function is chosen by the composition root. Until access control exists there is only open
mode, which `serve` refuses on a public address unless the operator allows it.
"""

from collections.abc import Awaitable, Callable, Mapping

from broker.model.principal import OPEN_PRINCIPAL, Principal

Authenticate = Callable[[Mapping[str, str]], Awaitable[Principal]]
"""From the headers of a request (names in lower case) to its principal; raises a `RequestError` for bad
credentials.
"""


async def authenticate_open(_headers: Mapping[str, str]) -> Principal:
    """Open mode (`BROKER_AUTH=off`): every request has the built-in principal."""
    return OPEN_PRINCIPAL
