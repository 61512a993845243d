"""`subscriptions`: shows the Subscriptions of a running broker and acts on them."""

from typing import Annotated

import typer

from broker.cli import attempts, resend, subscription_actions
from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient
from broker.cli.output import JsonOption, WideOption, print_record, print_rows
from broker.cli.subscription_values import SubscriptionDetails, SubscriptionRow

app = typer.Typer(
    help="Show Subscriptions and attempts; pause, activate, delete, sign, adopt, retry and test them; resend"
    " events.\n\n"
    "Example:\n\n    fhir-broker subscriptions list --status error",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the Subscription.")]


@app.command("list")
def list_(
    status: Annotated[str, typer.Option(help="Only this status: requested, active, error or off.")] = "",
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List the Subscriptions with their status, their number of events, and their errors.

    Examples:

        fhir-broker subscriptions list

        fhir-broker subscriptions list --status error --json
    """
    with BrokerClient(base, "system/Subscription.rs") as broker:
        bundle = broker.operate("Subscription/$status", status=status)
    rows = [SubscriptionRow.of_status(entry["resource"]) for entry in bundle.get("entry", [])]
    print_rows(rows, SubscriptionRow, "subscription", as_json=as_json, wide=wide)


@app.command()
def show(
    subscription_id: Id,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show one Subscription: what it asks for, what is delivered, what waits, and what failed last.

    Example:

        fhir-broker subscriptions show ward-3
    """
    with BrokerClient(base, "system/Subscription.rs") as broker:
        details = SubscriptionDetails.read(broker, subscription_id)
    print_record(details, as_json=as_json, wide=wide, json_only="document")


app.command("attempts")(attempts.attempts)
app.command("retry")(subscription_actions.retry)
app.command("activate")(subscription_actions.activate)
app.command("pause")(subscription_actions.pause)
app.command("rotate-secret")(subscription_actions.rotate_secret)
app.command("adopt")(subscription_actions.adopt)
app.command("delete")(subscription_actions.delete)
app.command("send-test")(subscription_actions.send_test)
app.command("resend")(resend.resend)
