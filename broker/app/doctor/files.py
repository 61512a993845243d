"""Checks files with secrets and certificates: who can read them, and when they expire."""

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.app.doctor.finding import Finding, failure, ok, warning
from broker.errors import ConfigurationError
from broker.security.certificates import read_expiries
from broker.settings import Settings
from broker.settings.written import CONFIG, masked

CERTIFICATES, PERMISSIONS = "certificates", "permissions"
SOON = timedelta(days=21)
CERTIFICATES_OF = ("tls_cert", "tls_client_ca", "egress_ca_file", "mqtt_cert", "mqtt_ca_file")
"""The settings that name a file of certificates."""
SECRETS = (
    "tls_key",
    "mqtt_password_file",
    "mqtt_cert",
    "outbound_auth",
    "console_client_secret",
    "traces_headers_file",
)
"""The settings that name a file with secrets, besides the key ring."""
FOLDERS_OF_SECRETS = {"egress_client_certs": "*/*.pem", "keys_dir": "*/*"}
"""The settings that name a folder of them, and which files those are."""


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Files that only the broker should read."""
    secrets = [path for path in _secret_files(settings) if path.exists()]
    problems = list(_exposed(secrets))
    yield from problems
    if not problems:
        yield ok(
            PERMISSIONS, f"{len(secrets)} files and folders with secrets are readable by their owner only"
        )


def _secret_files(settings: Settings) -> Iterator[Path]:
    paths = [settings.key_ring_path, _settings_file(settings), *(getattr(settings, name) for name in SECRETS)]
    paths += [settings.data_dir] if settings.redis_url is None else []
    paths += [settings.tls_cert] if settings.tls_key is None else []
    yield from (path for path in paths if path is not None)
    for name, pattern in FOLDERS_OF_SECRETS.items():
        folder: Path | None = getattr(settings, name)
        if folder is not None:
            yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def _settings_file(settings: Settings) -> Path | None:
    """The file of settings, if a URL in it has a password."""
    if settings.config is None:
        return None
    written = Settings.configuration({CONFIG: str(settings.config)}).written.values()
    return settings.config if any(masked(each.text) != each.text for each in written) else None


def _exposed(paths: list[Path]) -> Iterator[Finding]:
    for path in paths:
        mode = path.stat().st_mode
        if mode & stat.S_IRWXO:
            wanted = "0700" if path.is_dir() else "0600"
            yield failure(
                PERMISSIONS,
                f"every user of this machine can open {path} (mode {stat.S_IMODE(mode):04o})",
                f"Run chmod {wanted} {path}. If others had access to the machine, replace what is in it.",
            )
        elif mode & (stat.S_IWGRP | stat.S_IXGRP) and not path.is_dir():
            yield warning(
                PERMISSIONS,
                f"the group of {path} can do more than read it (mode {stat.S_IMODE(mode):04o})",
                f"Run chmod 0640 {path}, or 0600.",
            )


def check_certificates(settings: Settings, now_ms: int) -> Iterator[Finding]:
    """When the first certificate expires of each file that the settings name."""
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    named = {f"BROKER_{name.upper()}": getattr(settings, name) for name in CERTIFICATES_OF}
    files = [(variable, path) for variable, path in named.items() if path is not None]
    if settings.egress_client_certs is not None:
        of_clients = sorted(settings.egress_client_certs.glob("*/*.pem"))
        files += [("BROKER_EGRESS_CLIENT_CERTS", path) for path in of_clients]
    for variable, path in files:
        try:
            expiries = read_expiries(path)
        except ConfigurationError as error:
            yield failure(CERTIFICATES, f"{variable}: {error}", "Name a PEM file with a certificate.")
            continue
        first = min(expiries, key=lambda each: each.moment)
        left = first.moment - now
        found = f"{variable}={path}: {first.subject} expires {first.moment:%Y-%m-%d}, in {left.days} days"
        if left <= timedelta(0):
            yield failure(
                CERTIFICATES,
                f"{variable}={path}: {first.subject} expired {first.moment:%Y-%m-%d}",
                "Renew it and replace the file; a running broker reads it again by itself.",
            )
        elif left < SOON:
            yield warning(CERTIFICATES, found, "Renew it and replace the file.")
        else:
            yield ok(CERTIFICATES, found)
    if not files:
        yield ok(CERTIFICATES, "the settings name none")
