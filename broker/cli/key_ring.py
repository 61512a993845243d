"""`key-ring`: makes, shows and changes the keys that seal secrets in the store. Settings come from the
environment.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from broker.app import key_ring_upkeep, reachable_store
from broker.app.secrets import new_key, new_ring
from broker.cli.output import JsonOption, WideOption, print_rows
from broker.errors import ConfigurationError
from broker.security.key_ring import RingFile
from broker.settings import Settings

app = typer.Typer(
    help="Make, show, rotate and drop the keys that seal secrets in the store.\n\n"
    "Example:\n\n    fhir-broker key-ring rotate",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of the ring. `subscriptions` counts those that have secrets under it, `resources` the versions of
    resources, `readings` the quarantined ones.
    """

    id: str
    created: str
    active: bool
    subscriptions: int
    resources: int
    readings: int


def _settings() -> tuple[Settings, Path]:
    settings = Settings.from_environment(os.environ)
    if settings.key_ring_path is None:
        raise ConfigurationError("There is no key ring. Set BROKER_KEY_RING to its file.")
    return settings, settings.key_ring_path


@app.command()
def create() -> None:
    """Make the key ring with its first key, in the file of BROKER_KEY_RING or in BROKER_DATA_DIR.

    Keep a backup of the file apart from that of the store: without it, sealed secrets are lost.

    Example:

        BROKER_KEY_RING=/etc/fhir-broker/key-ring.json fhir-broker key-ring create
    """
    _, path = _settings()
    try:
        new_ring().write(path, is_new=True)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists. To change its keys, run `fhir-broker key-ring rotate`."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error
    typer.echo(f"Made {path}. Keep a backup of it.")


@app.command("list")
def list_(*, as_json: JsonOption = False, wide: WideOption = False) -> None:
    """List the keys, which one is active, and what is sealed under each. It reads the whole store.

    Example:

        fhir-broker key-ring list
    """
    settings, path = _settings()
    with reachable_store(settings) as url:
        usage = asyncio.run(key_ring_upkeep.usage(settings, url))
    content = RingFile.read(path)
    rows = [
        KeyRow(key.id, key.created, key.id == content.active_id, *usage.of(key.id)) for key in content.keys
    ]
    print_rows(rows, KeyRow, "key", as_json=as_json, wide=wide)


@app.command()
def rotate(
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Only add the key; the next rotate makes it the active one."),
    ] = False,
) -> None:
    """Add a key and make it the active one: new secrets are sealed under it from now on.

    Brokers on this machine read the file again by themselves. Where they run on several machines, add the key
    with --prepare first, copy the file to all of them, then rotate and copy it again.

    Example:

        fhir-broker key-ring rotate
    """
    _, path = _settings()
    content = RingFile.read(path)
    is_prepared = content.keys[-1].id != content.active_id
    if prepare and is_prepared:
        raise ConfigurationError(
            f"The key {content.keys[-1].id} is prepared already. Run it without --prepare."
        )
    if not is_prepared:
        content = RingFile(content.active_id, (*content.keys, new_key()))
    newest = content.keys[-1].id
    RingFile(content.active_id if prepare else newest, content.keys).write(path)
    typer.echo(
        f"Added the key {newest}; {content.active_id} stays the active one."
        if prepare
        else f"The active key is {newest}. To seal older secrets under it: fhir-broker key-ring reseal"
    )


@app.command()
def reseal() -> None:
    """Seal everything in the store that is sealed under the active key. Brokers may run meanwhile.

    Example:

        fhir-broker key-ring reseal
    """
    settings, _ = _settings()
    with reachable_store(settings) as url:
        counts = asyncio.run(key_ring_upkeep.reseal(settings, url))
    typer.echo(f"Sealed again: {counts}.")


@app.command()
def drop(key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the key.")]) -> None:
    """Remove a key that seals nothing any more.

    Exit code 2 while something is sealed under it.

    Example:

        fhir-broker key-ring drop 5f1c0a9d2b7e4a63
    """
    settings, _ = _settings()
    with reachable_store(settings) as url:
        asyncio.run(key_ring_upkeep.drop(settings, url, key_id))
    typer.echo(f"Dropped the key {key_id}.")
