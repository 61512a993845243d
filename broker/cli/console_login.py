"""`console-login`: a login link to the console for who administers the machine. Settings come from the
environment.
"""

import asyncio
import os
from typing import Annotated

import typer

from broker.app import console_link, reachable_store
from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.settings import Settings


def console_login(
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant to administer.")] = DEFAULT_TENANT,
) -> None:
    """Print a link that logs you in to the console as an administrator, once.

    The link works for ten minutes. The command uses the store of BROKER_REDIS_URL or, without it, the
    embedded store in BROKER_DATA_DIR, whose broker may run. The link begins with BROKER_BASE_URL.

    Examples:

        fhir-broker console-login

        fhir-broker console-login --tenant ward-7
    """
    if not TENANT_PATTERN.fullmatch(tenant):
        raise ConfigurationError(f"{tenant} cannot be a tenant. Use 1 to 64 letters, digits, - and _.")
    settings = Settings.from_environment(os.environ)
    if not settings.has_console:
        raise ConfigurationError("BROKER_CONSOLE says that there is no console. Set it to on.")
    if settings.auth == "off":
        typer.echo(f"{settings.base_url}/console")
        typer.echo("The broker has no access control: its console needs no login.", err=True)
        return
    with reachable_store(settings) as url:
        link = asyncio.run(console_link.make_link(settings, url, Tenant(tenant)))
    typer.echo(link)
    typer.echo("Open the link within ten minutes. It works once.", err=True)
