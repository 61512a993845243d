"""Settings of the mappings of device payloads."""

from dataclasses import dataclass
from pathlib import Path

from broker.settings.environment import setting
from broker.settings.kinds import PATH


@dataclass(frozen=True)
class MappingSettings:
    """Where mappings come from."""

    mappings_dir: Path | None = setting(
        None,
        PATH,
        "",
        "The directory of your mapping files (*.yaml). They are used with those that ship; one with the "
        "same name replaces a shipped one. A changed file is read while the broker runs.",
    )
