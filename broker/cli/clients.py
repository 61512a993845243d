"""`clients`: registers, shows and changes the clients of a broker with access control.

The commands use the API of administrators, with the token of the caller. Before anybody can have one,
`add --dir` writes the registration to a file of BROKER_CLIENTS_DIR.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient
from broker.cli.client_values import ClientDetails, ClientRow, kids_of, make_key, read_key_set
from broker.cli.output import JsonOption, WideOption, print_json, print_record, print_rows
from broker.errors import ConfigurationError
from broker.security.clients import parse_client

app = typer.Typer(
    help="Register, list, show, enable, disable and remove clients, and rotate their keys.\n\n"
    "Example:\n\n    fhir-broker clients list",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_SCOPE = "system/Subscription.rs"
_ADMIN_SCOPE = "system/*.cruds"
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The client_id.")]
MakeKeyOption = Annotated[
    Path | None,
    typer.Option("--make-key", help="Make a key pair; write the private key to this new file (mode 0600)."),
]
KeySetOption = Annotated[
    Path | None, typer.Option("--key-set", help="A file with the public keys: a JSON Web Key Set.")
]
AlgorithmOption = Annotated[
    str, typer.Option("--algorithm", help="What a new key signs with: ES384 or RS384.")
]


@app.command()
def add(
    client: IdArgument,
    name: Annotated[str, typer.Option(help="The name of the client, for people.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope that it may be granted. May be repeated.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="admin, auditor or operator. May be repeated.")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help=f"An administrator: role admin, and {_ADMIN_SCOPE}.")
    ] = False,
    make_key_file: MakeKeyOption = None,
    algorithm: AlgorithmOption = "ES384",
    key_set: KeySetOption = None,
    jwks_uri: Annotated[str, typer.Option("--jwks-uri", help="The URL of its key set.")] = "",
    tenant: Annotated[str, typer.Option(help="The tenant; only with --dir. By default yours.")] = "",
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Write a file to this directory, the BROKER_CLIENTS_DIR of the broker, and send nothing: "
            "for the first administrator.",
        ),
    ] = None,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Register a client, with a key that is made, a key set, or the URL of one.

    Examples:

        fhir-broker clients add root --admin --make-key root.pem --dir /etc/fhir-broker/clients

        fhir-broker clients add gateway --scope system/Observation.c --make-key gateway.pem

        fhir-broker clients add ehr --scope "system/Subscription.cruds system/*.rs" --jwks-uri https://ehr.example/jwks
    """
    if sum(each not in (None, "") for each in (make_key_file, key_set, jwks_uri)) != 1:
        raise ConfigurationError("Give one of --make-key, --key-set and --jwks-uri: the keys of the client.")
    if tenant and directory is None:
        raise ConfigurationError("--tenant needs --dir: over the API, clients are registered in your tenant.")
    members: dict[str, Any] = {
        "client_id": client,
        "client_name": name,
        "scope": " ".join([*([_ADMIN_SCOPE] if admin else ()), *(scope or ())]),
        "roles": sorted({*(["admin"] if admin else ()), *(role or ())}),
        "tenant": tenant,
        "jwks_uri": jwks_uri,
    }
    members = {member: value for member, value in members.items() if value}
    with _keys(make_key_file, key_set, algorithm) as keys:
        if keys:
            members["jwks"] = {"keys": keys}
        if directory is None:
            with BrokerClient(base, _SCOPE) as broker:
                broker.clients("POST", registration=members)
            done = f"Registered {client}."
        else:
            done = f"Wrote {_write_file(directory, members)}."
    if as_json:
        print_json(members)
        return
    typer.echo(done)
    _print_next_steps(client, make_key_file, directory)


@app.command("list")
def list_(base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False, wide: WideOption = False) -> None:
    """List the clients of your tenant, those of files too.

    Examples:

        fhir-broker clients list

        fhir-broker clients list --json
    """
    with BrokerClient(base, _SCOPE) as broker:
        answer, _ = broker.clients("GET")
    rows = [ClientRow.of(members) for members in answer["clients"]]
    print_rows(rows, ClientRow, "client", as_json=as_json, wide=wide)


@app.command()
def show(
    client: IdArgument,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show one client. With --json its whole registration.

    Example:

        fhir-broker clients show gateway --json
    """
    with BrokerClient(base, _SCOPE) as broker:
        members, _ = broker.clients("GET", client)
    print_record(ClientDetails.of(members), as_json=as_json, wide=wide, json_only="registration")


@app.command("rotate-key")
def rotate_key(
    client: IdArgument,
    make_key_file: MakeKeyOption = None,
    algorithm: AlgorithmOption = "ES384",
    key_set: KeySetOption = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="The kid of a key to remove. May be repeated.")
    ] = None,
    base: BaseOption = DEFAULT_BASE,
) -> None:
    """Add a key beside those of the client, or remove one. Both keys work until the old one is removed.

    Examples:

        fhir-broker clients rotate-key gateway --make-key gateway-2.pem

        fhir-broker clients rotate-key gateway --drop 2026-1
    """
    if (make_key_file is None) + (key_set is None) + (not drop) != 2:
        raise ConfigurationError("Give one of --make-key, --key-set and --drop.")
    with BrokerClient(base, _SCOPE) as broker:
        members, etag = broker.clients("GET", client)
        if "jwks" not in members:
            raise ConfigurationError(
                f"{client} has its keys at {members['jwks_uri']}. Publish the new key there."
            )
        unknown = set(drop or ()) - set(kids_of(members))
        if unknown:
            raise ConfigurationError(
                f"{client} has no key {', '.join(sorted(unknown))}. Its keys: {', '.join(kids_of(members))}."
            )
        with _keys(make_key_file, key_set, algorithm) as added:
            kept = [key for key in members["jwks"]["keys"] if key["kid"] not in (drop or ())]
            changed, _ = broker.clients("PUT", client, members | {"jwks": {"keys": [*kept, *added]}}, etag)
    typer.echo(f"The keys of {client}: {', '.join(kids_of(changed))}.")
    if added:
        for kid in kids_of(members):
            typer.echo(
                f"Once it signs with the new key: fhir-broker clients rotate-key {client} --drop {kid}"
            )


@app.command()
def enable(client: IdArgument, base: BaseOption = DEFAULT_BASE) -> None:
    """Let a client that was disabled get tokens again.

    Example:

        fhir-broker clients enable gateway
    """
    _set_disabled(base, client, is_disabled=False)
    typer.echo(f"Enabled {client}.")


@app.command()
def disable(client: IdArgument, base: BaseOption = DEFAULT_BASE) -> None:
    """Take the access of a client away: it gets no token, and within five seconds no token of it is accepted.

    Example:

        fhir-broker clients disable gateway
    """
    _set_disabled(base, client, is_disabled=True)
    typer.echo(f"Disabled {client}. Its tokens are refused within 5 seconds.")


@app.command()
def remove(client: IdArgument, base: BaseOption = DEFAULT_BASE) -> None:
    """Remove the registration of a client. Its tokens are refused within five seconds.

    Example:

        fhir-broker clients remove gateway
    """
    with BrokerClient(base, _SCOPE) as broker:
        broker.clients("DELETE", client)
    typer.echo(f"Removed {client}. Its tokens are refused within 5 seconds.")


def _set_disabled(base: str, client: str, *, is_disabled: bool) -> None:
    with BrokerClient(base, _SCOPE) as broker:
        members, etag = broker.clients("GET", client)
        broker.clients("PUT", client, members | {"disabled": is_disabled}, etag)


@contextmanager
def _keys(make_key_file: Path | None, key_set: Path | None, algorithm: str) -> Iterator[list[Any]]:
    """The public keys to register. A private key that was made for it is removed if that fails."""
    if make_key_file is None:
        yield read_key_set(key_set) if key_set else []
        return
    key = make_key(make_key_file, algorithm)
    try:
        yield [dict(key.public_jwk)]
    except BaseException:
        make_key_file.unlink(missing_ok=True)
        raise


def _write_file(directory: Path, members: dict[str, Any]) -> Path:
    """Writes the registration to a new file. Raises `ConfigurationError`."""
    try:
        parse_client(members, lambda _: ())
    except ValueError as error:
        raise ConfigurationError(f"The registration is not valid: {error}.") from error
    path = directory / f"{quote(members['client_id'], safe='')}.json"
    try:
        with path.open("x") as file:
            file.write(json.dumps(members, indent=2) + "\n")
    except FileExistsError:
        raise ConfigurationError(f"{path} exists. Choose another id, or change the file.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. Correct --dir.") from error
    return path


def _print_next_steps(client: str, key: Path | None, directory: Path | None) -> None:
    if key is not None:
        typer.echo(f"Its private key is in {key}: move it to the client, and nowhere else.")
    if directory is not None:
        typer.echo(
            f"Send SIGHUP to the broker, or start it with BROKER_AUTH=smart BROKER_CLIENTS_DIR={directory}."
        )
    if key is not None:
        typer.echo(f"To test it: fhir-broker topics list --client-id {client} --key {key}")
