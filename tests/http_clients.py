"""Lets the HTTP clients of the tests share the certificates of the authorities: each loads them otherwise,
for 35 ms, although nearly all ask `http://` addresses.
"""

import functools
import ssl
from collections.abc import Callable
from typing import Any

from httpx._transports import default as transports


def share_authorities() -> None:
    """From now on the clients of httpx in this process share a context, but for those that name another."""
    default: Any = transports  # it does not export the function
    create: Callable[..., ssl.SSLContext] = default.create_ssl_context

    @functools.cache
    def shared() -> ssl.SSLContext:
        return create(verify=True, trust_env=False)

    def context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and cert is None and not trust_env:
            return shared()
        return create(verify=verify, cert=cert, trust_env=trust_env)

    default.create_ssl_context = context
