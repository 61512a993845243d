"""`erase`: removes what the store holds about a person. Settings come from the environment."""

import asyncio
import os
import re
from dataclasses import dataclass
from typing import Annotated

import typer

from broker.app import erasure, reachable_store
from broker.cli.output import JsonOption, WideOption, print_rows
from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.settings import Settings
from broker.store.personal_data import PersonalData

_PATIENT = re.compile(r"Patient/[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """What there is of a kind, and whether it is removed."""

    kind: str
    number: int
    removed: bool


def erase(
    patient: Annotated[str, typer.Option("--patient", metavar="Patient/ID", help="The person.")],
    tenant: Annotated[
        str, typer.Option("--tenant", help="The tenant of the person's data.")
    ] = DEFAULT_TENANT,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without it, only count.")] = False,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Remove what the store holds about a person.

    That is the Patient, each resource whose patient it is in any version, and dead letters about them.
    Without --yes it counts and changes nothing. Brokers may run meanwhile; stop what sends data about the
    person. Delivered notifications, backups and the ids in events and in the audit trail stay.

    Exit code 2 while changes about the person wait to be processed.

    Examples:

        fhir-broker erase --patient Patient/ana

        fhir-broker erase --patient Patient/ana --yes
    """
    if not _PATIENT.fullmatch(patient):
        raise ConfigurationError("--patient is not Patient/ID.")
    if not TENANT_PATTERN.fullmatch(tenant):
        raise ConfigurationError(f"{tenant} cannot be a tenant.")
    settings = Settings.from_environment(os.environ)
    act = erasure.erase if yes else erasure.find
    with reachable_store(settings) as url:
        found = asyncio.run(act(settings, url, Tenant(tenant), patient))
    print_rows(list(_rows(found, is_removed=yes)), ErasureRow, "kind", as_json=as_json, wide=wide)
    if not as_json and not yes:
        typer.echo("Nothing was removed. Run it with --yes to remove what is listed.")


def _rows(found: PersonalData, *, is_removed: bool) -> list[ErasureRow]:
    rows = [ErasureRow(kind, number, is_removed) for kind, number in sorted(found.counts().items())]
    stays = {
        "events that name them by id": found.events,
        "resources about others that mention the person": len(found.mentions),
        "changes that wait to be processed": found.waiting,
    }
    return rows + [ErasureRow(kind, number, removed=False) for kind, number in stays.items() if number]
