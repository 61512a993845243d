"""The credentials of the commands that send requests to a broker: the options `--client-id` and `--key`,
which `commands.load` adds to each of them, and the access tokens that they get.
"""

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_command

from broker.errors import ConfigurationError

if TYPE_CHECKING:
    from broker.client import BackendServices

_client_id: ContextVar[str] = ContextVar("client_id", default="")
_key: ContextVar[Path | None] = ContextVar("key", default=None)


def auth_for(base: str, scope: str) -> "BackendServices | None":
    """How a command authenticates at a FHIR base; None where the user named no client.

    Raises `ConfigurationError` for a key that cannot be used, and for one option without the other.
    """
    client_id, path = _client_id.get(), _key.get()
    if not client_id and path is None:
        return None
    if not client_id or path is None:
        raise ConfigurationError(
            "--client-id and --key belong together. Give both, or set BROKER_CLIENT_ID and BROKER_CLIENT_KEY."
        )
    # a command without credentials does not wait for the import of the cryptographic library
    from broker.client import BackendServices  # noqa: PLC0415
    from broker.security.private_keys import PrivateKey  # noqa: PLC0415

    try:
        key = PrivateKey.from_pem(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"--key {path}: {error.strerror}. Name a file that can be read.") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"--key {path}: {error}. Name the PEM file of the client's key.") from error
    return BackendServices(base, client_id, key, scope)


def _choose_client(value: str) -> None:
    _client_id.set(value)


def _choose_key(value: Path | None) -> None:
    _key.set(value)


def _options(
    client_id: Annotated[
        str,
        typer.Option(
            envvar="BROKER_CLIENT_ID",
            callback=_choose_client,
            expose_value=False,
            show_default=False,
            help="The client as which to get an access token, for a broker with BROKER_AUTH=smart.",
        ),
    ] = "",
    key: Annotated[
        Path | None,
        typer.Option(
            envvar="BROKER_CLIENT_KEY",
            callback=_choose_key,
            expose_value=False,
            help="The PEM file of the private key of the client.",
        ),
    ] = None,
) -> None:
    """Never called: a command takes over the parameters."""


def options() -> list[Any]:
    """The parameters, for a command of typer."""
    declaring = typer.Typer(add_completion=False)
    declaring.command()(_options)
    return list(get_command(declaring).params)
