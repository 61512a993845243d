"""The settings of the console. They are fields of `Settings`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from broker.settings.environment import setting
from broker.settings.kinds import DURATION, PATH, TEXT, choice


@dataclass(frozen=True)
class ConsoleSettings:
    """Part of `Settings`."""

    console: Literal["auto", "on", "off"] = setting(
        "auto",
        choice("auto", "on", "off"),
        "auto",
        "Whether a process with the API serves the console at /console (docs/console.md). auto: unless the "
        "broker is without access control on another address than loopback.",
    )
    console_session: timedelta = setting(
        timedelta(hours=8),
        DURATION,
        "8h",
        "How long a login to the console lasts.",
    )
    console_issuer: str = setting(
        "",
        TEXT,
        "",
        "The issuer of BROKER_ISSUERS, by its name, at which people log in to the console. Unset: they log in"
        " by links of fhir-broker console-login alone.",
    )
    console_client_id: str = setting(
        "fhir-broker-console", TEXT, "fhir-broker-console", "The client that the console is at its issuer."
    )
    console_client_secret: Path | None = setting(
        None,
        PATH,
        "",
        "The file with the secret of that client. Unset: it is a public client (PKCE is used in both cases).",
    )
    console_scope: str = setting(
        "openid", TEXT, "openid", "The scopes that a login asks the issuer for; openid is one of them."
    )
