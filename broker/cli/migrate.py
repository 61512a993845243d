"""`migrate`: brings the data set to the schema of this broker. Settings come from the environment."""

import asyncio
import os

import typer

from broker.app import claimed_server, migrate_store, store_url
from broker.settings import Settings


def migrate() -> None:
    """Migrate the data set to the schema that this version of the broker needs.

    Stop all broker processes first. The command works on the store of BROKER_REDIS_URL or, without it, on the
    embedded store in BROKER_DATA_DIR. Running it again is safe.

    Exit code 0 if the data set has the right schema afterwards, 2 if it cannot be migrated.

    Example:

        fhir-broker migrate
    """
    settings = Settings.from_environment(os.environ)
    with claimed_server(settings) as server, store_url(settings, server) as url:
        titles = asyncio.run(migrate_store(settings, url))
    for title in titles:
        typer.echo(f"Migrated: {title}.")
    if not titles:
        typer.echo("Nothing to do: the data set already has the schema of this broker.")
