"""The settings of the broker as a client of others: its own keys, and the endpoints that ask for tokens."""

from dataclasses import dataclass
from pathlib import Path

from broker.settings.environment import setting
from broker.settings.kinds import PATH


@dataclass(frozen=True)
class OutboundSettings:
    """Part of `Settings`."""

    keys_dir: Path | None = setting(
        None,
        PATH,
        "",
        "The directory of the broker's own keys, a folder for each tenant; fhir-broker keys rotate makes"
        " them. /oauth/jwks publishes their public parts.",
    )
    outbound_auth: Path | None = setting(
        None,
        PATH,
        "",
        "A TOML file of the endpoints that ask for access tokens, and how the broker gets them"
        " (docs/security.md).",
    )
    write_targets: Path | None = setting(
        None,
        PATH,
        "",
        "A TOML file of the FHIR servers that the channel fhir-write may write to (docs/ehr-guide.md).",
    )
