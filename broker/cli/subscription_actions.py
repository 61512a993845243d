"""What `subscriptions` does to one Subscription: retry, activate, pause, delete, test, sign and adopt."""

import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient, value
from broker.cli.output import JsonOption, print_json
from broker.cli.subscription_values import Delivery

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the Subscription.")]
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class _Retried:
    id: str
    retried: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Tested:
    id: str
    delivered: bool
    reason: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class _Standing:
    id: str
    status: str
    error: list[str]


@dataclass(frozen=True, slots=True)
class _Rotated:
    id: str
    secret: str
    previous_until: str | None


@dataclass(frozen=True, slots=True)
class _Adopted:
    id: str
    status: str
    client: str
    previous_owner: str


@dataclass(frozen=True, slots=True)
class _Deleted:
    id: str
    deleted: bool


def retry(subscription_id: Id, base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False) -> None:
    """Attempt a failed notification now, instead of at its scheduled time.

    Exit code 0 if it is attempted, 1 if no notification waits for another attempt.

    Example:

        fhir-broker subscriptions retry ward-3
    """
    with BrokerClient(base, "system/Subscription.u") as broker:
        answer = broker.operate(f"Subscription/{subscription_id}/$retry")["parameter"]
    result = _Retried(subscription_id, value(answer, "retried"), value(answer, "reason"))
    _report(result, f"{subscription_id}: {result.reason}", as_json=as_json)
    raise typer.Exit(0 if result.retried else 1)


def activate(
    subscription_id: Id,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the outcome of the handshake.")
    ] = 10.0,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Request a Subscription again that is off or in error: the broker sends a handshake and goes on.

    Exit code 0 if it is active, 1 if the handshake failed or is still under way after the wait.

    Example:

        fhir-broker subscriptions activate ward-3
    """
    with BrokerClient(base, "system/Subscription.ru") as broker:
        _put_status(broker, subscription_id, "requested")
        deadline = time.monotonic() + wait
        delivery = Delivery.read(broker, subscription_id)
        while delivery.status == "requested" and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            delivery = Delivery.read(broker, subscription_id)
    text = {
        "active": "active; its events are sent",
        "requested": "requested; its handshake has not succeeded yet, and the broker retries it",
    }.get(delivery.status, delivery.status)
    errors = "".join(f": {error}" for error in delivery.error if delivery.status != "active")
    result = _Standing(subscription_id, delivery.status, delivery.error)
    _report(result, f"{subscription_id} is {text}{errors}", as_json=as_json)
    raise typer.Exit(0 if delivery.status == "active" else 1)


def pause(subscription_id: Id, base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False) -> None:
    """Turn a Subscription off: nothing is sent, and changes are no events of it until it is activated.

    Example:

        fhir-broker subscriptions pause ward-3
    """
    with BrokerClient(base, "system/Subscription.ru") as broker:
        stored = _put_status(broker, subscription_id, "off")
    result = _Standing(subscription_id, stored["status"], [])
    text = f"{subscription_id} is {result.status}. To start it again: fhir-broker subscriptions activate"
    _report(result, f"{text} {subscription_id}", as_json=as_json)


def delete(subscription_id: Id, base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False) -> None:
    """Delete a Subscription with its events, also those that are not delivered yet.

    Example:

        fhir-broker subscriptions delete ward-3
    """
    with BrokerClient(base, "system/Subscription.d") as broker:
        broker.delete(f"Subscription/{subscription_id}")
    _report(_Deleted(subscription_id, deleted=True), f"{subscription_id} is deleted", as_json=as_json)


def send_test(subscription_id: Id, base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False) -> None:
    """Send a heartbeat to the subscriber now and show what it answered. Nothing else changes.

    Exit code 0 if the subscriber accepted it, 1 if not.

    Example:

        fhir-broker subscriptions send-test ward-3
    """
    with BrokerClient(base, "system/Subscription.u") as broker:
        answer = broker.operate(f"Subscription/{subscription_id}/$send-test")["parameter"]
    result = _Tested(
        subscription_id, value(answer, "delivered"), value(answer, "reason"), value(answer, "duration-ms")
    )
    word = "delivered" if result.delivered else "not delivered"
    text = f"{subscription_id}: heartbeat {word} after {result.duration_ms} ms: {result.reason}"
    _report(result, text, as_json=as_json)
    raise typer.Exit(0 if result.delivered else 1)


def rotate_secret(
    subscription_id: Id,
    end_previous: Annotated[
        bool, typer.Option("--end-previous", help="The previous secret signs no more, instead of both.")
    ] = False,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a secret that signs the notifications of a Subscription, and show it once.

    The previous secret signs too for BROKER_SECRET_OVERLAP, so that the subscriber can change.

    Example:

        fhir-broker subscriptions rotate-secret ward-3
    """
    with BrokerClient(base, "system/Subscription.u") as broker:
        answer = broker.operate(
            f"Subscription/{subscription_id}/$rotate-secret", endPrevious="true" if end_previous else ""
        )["parameter"]
    result = _Rotated(subscription_id, value(answer, "secret"), value(answer, "previous-until"))
    until = f"\nThe previous secret signs too until {result.previous_until}." if result.previous_until else ""
    _report(result, f"{result.secret}{until}", as_json=as_json)


def adopt(
    subscription_id: Id,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="The client_id of its new owner.")],
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Give a Subscription that belongs to no registered client to one; its handshake runs again.

    Such are those of the time before access control, and those of a client that was removed. The client needs
    the scopes to read what the Subscription sends. Needs the role admin.

    Example:

        fhir-broker subscriptions adopt ward-3 ehr
    """
    with BrokerClient(base, "system/Subscription.u") as broker:
        answer = broker.operate(f"Subscription/{subscription_id}/$adopt", client=client)["parameter"]
    result = _Adopted(subscription_id, value(answer, "status"), client, value(answer, "previous-owner"))
    text = f"{subscription_id} belongs to {client} now, before to {result.previous_owner}; {result.status}"
    _report(result, text, as_json=as_json)


def _put_status(broker: BrokerClient, subscription_id: str, status: str) -> dict[str, Any]:
    """Stores the Subscription with another status, in its own release: another one would change what it
    receives.
    """
    release = Delivery.read(broker, subscription_id).release
    path = f"Subscription/{subscription_id}"
    return broker.put(path, broker.get(path, release) | {"status": status}, release)


def _report(
    result: _Retried | _Tested | _Standing | _Rotated | _Adopted | _Deleted, text: str, *, as_json: bool
) -> None:
    if as_json:
        print_json(asdict(result))
    else:
        typer.echo(text)
