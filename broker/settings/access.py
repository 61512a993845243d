"""The settings of access control. They are fields of `Settings`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import BOOL, PATH, choice


@dataclass(frozen=True)
class AccessSettings:
    """Who may use the broker."""

    auth: Literal["off", "smart"] = setting(
        "off",
        choice("off", "smart"),
        "off",
        "Access control. off: anyone who can connect may read and write everything. smart: clients need "
        "access tokens of SMART Backend Services (docs/security.md).",
        agreement=Agreement.REQUIRED,
    )
    allow_open: bool = setting(
        False,
        BOOL,
        "false",
        "Allows a broker without access control to listen on other addresses than loopback.",
    )
    clients_dir: Path | None = setting(
        None,
        PATH,
        "",
        "The directory of the registered clients, one *.json file each. SIGHUP makes every process read it "
        "again.",
    )
    issuers: Path | None = setting(
        None,
        PATH,
        "",
        "The TOML file of the external issuers whose access tokens are accepted, such as an identity "
        "provider (docs/security.md). SIGHUP makes every process read it again.",
    )
