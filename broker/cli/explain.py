"""`explain`: shows why a running broker would, or would not, notify a subscription of a change."""

import json
import re
from pathlib import Path
from typing import Annotated

import httpx
import typer

from broker.cli import explain_view
from broker.cli.broker_client import (
    DEFAULT_BASE,
    HEADERS,
    TIMEOUT_S,
    Parts,
    check_url,
    fhir_base,
    request,
    trusted,
    value,
)
from broker.cli.credentials import auth_for
from broker.cli.output import JsonOption, WideOption, print_json
from broker.errors import ConfigurationError

_REFERENCE = re.compile(r"[A-Z][A-Za-z]*/[A-Za-z0-9.-]{1,64}(/_history/\d+)?")


def explain(
    subscription: Annotated[str, typer.Argument(help="The id of the Subscription.")],
    resource: Annotated[
        str,
        typer.Argument(help="A file with the resource, or a stored one as Type/id or Type/id/_history/n."),
    ],
    previous: Annotated[
        Path | None, typer.Option(help="A file with the previous state; the change is then an update.")
    ] = None,
    interaction: Annotated[
        str | None,
        typer.Option(help="create, update or delete. Default: what sending the resource now would be."),
    ] = None,
    base: Annotated[
        str,
        typer.Option(help="The URL of the broker (the resource is R4), or of the base of another release."),
    ] = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show why a change would, or would not, be notified to a subscription.

    The table has a row for each trigger of the topic, each of its criteria, and each filter.

    Exit code 0 if it would be notified, 1 if not, 2 if the broker cannot tell.

    Examples:

        fhir-broker explain 2f6c reading.json

        fhir-broker explain 2f6c reading.json --base http://127.0.0.1:8080/r5

        fhir-broker explain 2f6c Observation/17 --json
    """
    check_url("--base", base)
    auth = auth_for(fhir_base(base), "system/Subscription.r")
    with httpx.Client(
        headers=HEADERS, timeout=TIMEOUT_S, trust_env=False, auth=auth, verify=trusted()
    ) as client:
        url = f"{fhir_base(base)}/Subscription/{subscription}/$explain"
        response = request(client, "POST", url, content=_input(resource, previous, interaction).encode())
    parts: Parts = response.get("parameter", [])
    if as_json:
        print_json(response)
    else:
        explain_view.show(parts, wide=wide)
    raise typer.Exit(0 if value(parts, "verdict") is True else 1)


def _input(resource: str, previous: Path | None, interaction: str | None) -> str:
    """The input of the operation, a Parameters resource, as JSON text."""
    if not Path(resource).is_file() and _REFERENCE.fullmatch(resource):
        parameters = [json.dumps({"name": "reference", "valueString": resource})]
    else:
        parameters = [f'{{"name": "resource", "resource": {_read(Path(resource))}}}']
    if previous is not None:
        parameters.append(f'{{"name": "previous", "resource": {_read(previous)}}}')
    if interaction is not None:
        parameters.append(json.dumps({"name": "interaction", "valueCode": interaction}))
    return f'{{"resourceType": "Parameters", "parameter": [{", ".join(parameters)}]}}'


def _read(path: Path) -> str:
    """The JSON text of a file, unchanged: decimals such as 2.00 keep their digits."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {path}: {error.strerror}. Give a file, or the reference of a stored resource."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is not JSON ({error}). Give a file with one FHIR resource."
        ) from error
    return text
