"""Authentication: which principal sends a request.

The composition root chooses an `Authenticate` function: `authenticate_open` with `BROKER_AUTH=off`, which
`serve` refuses on a public address unless the operator allows it, or `bearer` with `BROKER_AUTH=smart`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from broker.errors import Unauthenticated
from broker.model.principal import OPEN_PRINCIPAL, Principal

Authenticate = Callable[[Mapping[str, str]], Awaitable[Principal]]
"""From the headers of a request (names in lower case) to its principal; raises `Unauthenticated` without
valid credentials.
"""

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,8192}=*) *")


async def authenticate_open(_headers: Mapping[str, str]) -> Principal:
    """Open mode (`BROKER_AUTH=off`): every request has the built-in principal."""
    return OPEN_PRINCIPAL


def bearer(principal_of: Callable[[str], Awaitable[Principal]]) -> Authenticate:
    """Authenticates by the access token of the Authorization header (RFC 6750, 2.1), the only place of a
    token that is read.
    """

    async def authenticate(headers: Mapping[str, str]) -> Principal:
        credentials = headers.get("authorization", "")
        token = _BEARER.fullmatch(credentials)
        if token is None:
            # another scheme counts as no token: the challenge says which one is wanted
            raise Unauthenticated(was_sent=credentials[:6].lower() == "bearer")
        return await principal_of(token[1])

    return authenticate
