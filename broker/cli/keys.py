"""`keys`: lists, rotates and checks the broker's own keys, with which it is a client of others. Settings come
from the environment.
"""

import os
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import typer

from broker.cli.output import JsonOption, WideOption, print_rows
from broker.clock import SystemClock, to_instant
from broker.errors import BrokerError, ConfigurationError
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.security.broker_keys import PREVIOUS_MS, BrokerKey, BrokerKeys, KeyUse
from broker.security.key_provider import is_jwt_of, sign_jwt
from broker.security.public_keys import parse_key_set
from broker.settings import Settings

app = typer.Typer(
    help="List, rotate and check the keys with which the broker gets tokens from others.\n\n"
    "Example:\n\n    fhir-broker keys rotate",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_PROBE = {"purpose": "fhir-broker keys check"}
TenantOption: TypeAlias = Annotated[str, typer.Option("--tenant", help="The tenant of the keys.")]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key. `until` is when it is published no more."""

    kid: str
    tenant: str
    name: str
    use: str
    algorithm: str
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class CheckRow:
    """Whether a key can sign; `problem` is empty if it can."""

    kid: str
    tenant: str
    name: str
    use: str
    signs: bool
    problem: str


def _keys() -> BrokerKeys:
    settings = Settings.from_environment(os.environ)
    if settings.keys_dir is None:
        raise ConfigurationError("There is no directory of keys. Set BROKER_KEYS_DIR.")
    return BrokerKeys(settings.keys_dir)


def _row(tenant: Tenant, key: BrokerKey) -> KeyRow:
    until = to_instant(key.since_ms + PREVIOUS_MS) if key.use is KeyUse.PREVIOUS else ""
    kid, algorithm = key.jwk["kid"], key.jwk["alg"]
    return KeyRow(kid, tenant, key.name, key.use, algorithm, to_instant(key.since_ms), until)


@app.command("list")
def list_(*, as_json: JsonOption = False, wide: WideOption = False) -> None:
    """List the keys of all tenants: which one signs, which is next, and which is still published.

    Example:

        fhir-broker keys list
    """
    keys = _keys()
    rows = [_row(tenant, key) for tenant in keys.tenants() for key in keys.of(tenant)]
    print_rows(rows, KeyRow, "key", as_json=as_json, wide=wide)


@app.command()
def rotate(
    *,
    tenant: TenantOption = DEFAULT_TENANT,
    following: Annotated[
        str | None,
        typer.Option(
            "--next",
            metavar="NAME",
            help="The key after the next one: NAME.pem or NAME.toml in the tenant's folder. Default: a new "
            "ES384 key in a file.",
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--current",
            metavar="NAME",
            help="With the first call only: the key that signs at first, named as with --next.",
        ),
    ] = None,
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="Also if servers may not have seen the next key yet."),
    ] = False,
) -> None:
    """Make the next key the current one, and publish another as the next.

    The first call makes both. The key that signed until now stays published for 24 hours. Brokers that run
    use the new key with their next token request.

    Example:

        fhir-broker keys rotate
    """
    rotated = _keys().rotate(
        Tenant(tenant), SystemClock().now_ms(), following=following, first=first, at_once=at_once
    )
    current, upcoming = (
        next(key for key in rotated if key.use is use) for use in (KeyUse.CURRENT, KeyUse.NEXT)
    )
    typer.echo(f"The key {current.jwk['kid']} ({current.name}) signs from now on.")
    typer.echo(f"Next will be {upcoming.jwk['kid']} ({upcoming.name}); it is published already.")


@app.command()
def check(*, as_json: JsonOption = False, wide: WideOption = False) -> None:
    """Sign with the current and the next key of each tenant, and verify it with what is published.

    Exit code 1 if a key cannot sign.

    Example:

        fhir-broker keys check
    """
    keys = _keys()
    rows = [
        CheckRow(key.jwk["kid"], tenant, key.name, key.use, not problem, problem)
        for tenant in keys.tenants()
        for key in keys.of(tenant)
        if key.use is not KeyUse.PREVIOUS
        for problem in [_problem(keys, tenant, key)]
    ]
    print_rows(rows, CheckRow, "key", as_json=as_json, wide=wide)
    if not all(row.signs for row in rows):
        raise typer.Exit(1)


def _problem(keys: BrokerKeys, tenant: Tenant, key: BrokerKey) -> str:
    try:
        signer = keys.signer_of(tenant, key)
        token = sign_jwt(signer, _PROBE)
    except BrokerError as error:
        return str(error)
    (published,) = parse_key_set({"keys": [dict(key.jwk)]})
    return "" if is_jwt_of(published.key, token) else "The signature is not one of the published key."
