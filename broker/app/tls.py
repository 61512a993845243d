"""TLS of the listener: its certificate, the authorities of clients, and their renewal without a restart.

The server keeps one context for its whole life. It hands each new connection to the context of the files as
they were read last, so a renewal touches no open connection. Files that cannot be used are reported, and the
previous ones stay in use.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.tasks import sleep_unless

_log = structlog.get_logger(__name__)
WATCH_S = 2.0
"""How soon a renewed file is in use, in every process."""
_Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Files:
    certificate: Path
    key: Path | None
    client_authorities: Path | None
    requires_clients: bool

    @property
    def stamps(self) -> _Stamps:
        """What changes when a file is replaced or written."""
        paths = (self.certificate, self.key, self.client_authorities)
        return tuple(_stamp_of(path) for path in paths if path is not None)

    def load(self) -> ssl.SSLContext:
        """Raises `ConfigurationError`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            names = f"BROKER_TLS_CERT={self.certificate}" + (
                f" BROKER_TLS_KEY={self.key}" if self.key else ""
            )
            raise ConfigurationError(
                f"{names} cannot be used: {_reason(error)}. Name the PEM files of a certificate and its key."
            ) from error
        if self.client_authorities is not None:
            try:
                context.load_verify_locations(self.client_authorities)
            except (OSError, ssl.SSLError) as error:
                raise ConfigurationError(
                    f"BROKER_TLS_CLIENT_CA={self.client_authorities} cannot be used: {_reason(error)}. "
                    "Name a PEM file of certificates."
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED if self.requires_clients else ssl.CERT_OPTIONAL
            context.num_tickets = 0  # a session is not resumed past a renewal of the authorities
            context.options |= ssl.OP_NO_TICKET
        return context


class ListenerTls:
    """`context` is for the server."""

    def __init__(self, files: _Files) -> None:
        """Raises `ConfigurationError` for files that cannot be used."""
        self._files = files
        self._stamps = files.stamps
        self._current = files.load()
        self.context = files.load()
        self.context.sni_callback = self._use_current

    def _use_current(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        connection.context = self._current

    def reload(self) -> None:
        """Reads the files again if one has changed; connections that are open stay."""
        stamps = self._files.stamps
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._current = self._files.load()
        except ConfigurationError as error:  # perhaps only one of them is written yet
            _log.error("TLS files are not used; the previous ones stay", error=str(error))
            return
        _log.info("TLS files read again", certificate=str(self._files.certificate))

    async def watch(self, stop: asyncio.Event) -> None:
        """Reads renewed files until `stop` is set."""
        while not await sleep_unless(stop, WATCH_S):
            self.reload()


def listener_tls(settings: Settings) -> ListenerTls | None:
    """TLS as the settings ask for it; None without a certificate. Raises `ConfigurationError`."""
    if settings.tls_cert is None:
        return None
    return ListenerTls(
        _Files(
            settings.tls_cert,
            settings.tls_key,
            settings.tls_client_ca,
            settings.tls_client_auth == "required",
        )
    )


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
