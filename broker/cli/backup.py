"""`backup` and `restore`: copy the data of the embedded store and bring it back. Settings come from the
environment.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from broker.app import backups
from broker.app.backups import Restored
from broker.errors import ConfigurationError
from broker.settings import Settings

_MIB = 1024**2
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the backup.")]


def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to make. It must not exist yet.")
    ],
) -> None:
    """Copy the data of the embedded store to a folder, also while the broker runs.

    The backup has every change that was acknowledged before the command began. The key ring is not part of
    it: keep a copy of that at another place. Back up the store of BROKER_REDIS_URL where its server runs
    (docs/backup.md).

    Exit code 0 if the backup is complete, 2 if it could not be made.

    Example:

        BROKER_DATA_DIR=/var/lib/fhir-broker fhir-broker backup /backup/2026-11-26
    """
    settings = Settings.from_environment(os.environ)
    record = backups.back_up(settings, folder)
    typer.echo(
        f"Backed up to {folder}: schema {record.schema}, {len(record.files)} files,"
        f" {record.bytes / _MIB:.1f} MiB."
    )
    if record.sealing_keys:
        typer.echo(
            f"It has values sealed under {', '.join(record.sealing_keys)}. The key ring is not part of the"
            f" backup: keep a copy of {settings.key_ring_path} at another place."
        )


def restore(
    folder: Folder,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare the checksums and load the backup, elsewhere.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move the data that is there aside, and keep it.")
    ] = False,
    nothing_newer: Annotated[
        bool,
        typer.Option(
            "--nothing-newer",
            help="Nothing was accepted after the backup: event numbers continue without a gap.",
        ),
    ] = False,
) -> None:
    """Bring the data of a backup to BROKER_DATA_DIR, which no process may use.

    Subscribers may have seen events that the backup does not have. So at the next start every Subscription
    skips a million numbers and reports the gap, unless you say that there are none, as for a broker that was
    stopped before its backup.

    Exit code 0 if the data is restored, 2 if nothing was changed.

    Examples:

        fhir-broker restore --check /backup/2026-11-26

        BROKER_DATA_DIR=/var/lib/fhir-broker fhir-broker restore /backup/2026-11-26
    """
    if check and (replace or nothing_newer):
        raise ConfigurationError("--check restores nothing. Use it without --replace and --nothing-newer.")
    settings = Settings.from_environment(os.environ)
    if check:
        restored = backups.check(settings, folder)
        typer.echo(f"The backup can be restored: {_contents(restored)}.")
        return
    restored = backups.restore(settings, folder, replace=replace, nothing_newer=nothing_newer)
    typer.echo(f"Restored to {settings.data_dir}: {_contents(restored)}.")
    if restored.previous is not None:
        typer.echo(f"The data that was there is in {restored.previous}. Delete it when you need it no more.")
    if restored.skips_numbers:
        typer.echo(
            "When the broker starts, every Subscription skips a million numbers and reports the gap, unless"
            f" the high-water file {settings.high_water_path} proves that nothing was lost."
        )
    if restored.needs_migration:
        typer.echo("Run `fhir-broker migrate` before you start the broker: it needs a newer schema.")


def _contents(restored: Restored) -> str:
    record = restored.record
    return f"made {record.made}, schema {record.schema}, {restored.keys} keys, {record.bytes / _MIB:.1f} MiB"
