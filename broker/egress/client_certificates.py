"""The client certificates with which the broker shows who it is to endpoints that ask for one (mTLS).

`{directory}/{tenant}/{host}.pem` has the certificate with its chain, and the key. A certificate is used for
Subscriptions of its tenant only: another tenant that registers the same endpoint does not speak in its name.
A renewed file is used from the next connection on.
"""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from broker.egress.requests import NotSendable
from broker.recently_used import RecentlyUsed

_log = structlog.get_logger(__name__)
_MAX_CONTEXTS = 1_000
_MAX_UNUSED_S = 600.0


class Identity(NamedTuple):
    """A file as it is now: a renewed one is another identity, with connections of its own."""

    path: Path
    inode: int
    modified_ns: int


class ClientCertificates:
    """The certificates of a directory. `trust` makes a context with the authorities of endpoints."""

    def __init__(self, directory: Path, trust: Callable[[], ssl.SSLContext]) -> None:
        self._directory = directory
        self._trust = trust
        self._contexts = RecentlyUsed[Identity, ssl.SSLContext](_MAX_CONTEXTS, _MAX_UNUSED_S)

    def identity(self, tenant: str, host: str) -> Identity | None:
        """The certificate for a host; None if the tenant has none there."""
        path = self._directory / tenant / f"{host.lower()}.pem"
        if path.parent.parent != self._directory or path.parent.name != tenant:
            return None  # a name with a slash is no name of a file
        try:
            status = path.stat()
        except OSError:
            return None
        return Identity(path, status.st_ino, status.st_mtime_ns)

    def context(self, identity: Identity) -> ssl.SSLContext:
        """TLS with the certificate. Raises `NotSendable` for a file that cannot be used."""
        context = self._contexts.get(identity)
        if context is None:
            context = self._trust()
            try:
                context.load_cert_chain(identity.path)
            except (OSError, ssl.SSLError) as error:
                _log.error("client certificate cannot be used", file=str(identity.path), error=str(error))
                raise NotSendable(
                    "the broker's client certificate for the endpoint cannot be used"
                ) from error
            self._contexts.put(identity, context)
        return context
