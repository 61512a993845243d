"""Checks values of settings that are valid alone and not together. `Settings` calls it."""

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.errors import ConfigurationError
from broker.settings.kinds import duration_text
from broker.settings.written import PREFIX

if TYPE_CHECKING:
    from broker.settings.settings import Settings


def check_together(settings: "Settings") -> None:
    """Raises `ConfigurationError`, one line, for the first combination that cannot work."""
    if "*" in settings.cors_origins and settings.auth == "off":
        raise ConfigurationError(
            f"{PREFIX}CORS_ORIGINS=* with {PREFIX}AUTH=off would let any web page read and write "
            "everything. List the origins of your apps."
        )
    _check_console(settings)
    for name in ("tls_key", "tls_client_ca"):
        if getattr(settings, name) is not None and settings.tls_cert is None:
            raise ConfigurationError(f"{PREFIX}{name.upper()} needs {PREFIX}TLS_CERT. Set both.")
    for name in ("retry_base", "max_timeout"):
        if getattr(settings, name) <= timedelta():
            raise ConfigurationError(f"{PREFIX}{name.upper()} is zero. Set a longer duration.")
    _check_order(settings, "retry_max", "retry_base", "")
    _check_order(
        settings, "retention", "retry_budget", "; otherwise the resources of a retry could be deleted"
    )
    for name, kept in settings.keep:
        if kept is not None and kept < settings.retention:
            raise ConfigurationError(
                f"{PREFIX}KEEP={name}={duration_text(kept)} is too short. Set at least {PREFIX}RETENTION "
                f"({duration_text(settings.retention)}); events refer to the versions."
            )


def _check_console(settings: "Settings") -> None:
    if settings.console_issuer and (settings.auth == "off" or settings.issuers is None):
        raise ConfigurationError(
            f"{PREFIX}CONSOLE_ISSUER needs {PREFIX}AUTH=smart and {PREFIX}ISSUERS. Set all three."
        )
    if "openid" not in settings.console_scope.split():
        raise ConfigurationError(f"{PREFIX}CONSOLE_SCOPE has no openid. Add it; the login needs an ID token.")
    if settings.console_session <= timedelta():
        raise ConfigurationError(f"{PREFIX}CONSOLE_SESSION is zero. Set a longer duration.")


def _check_order(settings: "Settings", longer: str, shorter: str, reason: str) -> None:
    value, minimum = getattr(settings, longer), getattr(settings, shorter)
    if value < minimum:
        raise ConfigurationError(
            f"{PREFIX}{longer.upper()}={duration_text(value)} is too short. "
            f"Set at least {PREFIX}{shorter.upper()} ({duration_text(minimum)}){reason}."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
