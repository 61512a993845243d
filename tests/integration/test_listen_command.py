"""`fhir-broker listen` as a process, with a broker that was started without any setting for its address."""

import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.integration.commands import Command, run
from tests.ports import free_port

ACTIVE = "is active"
AT = "2025-03-01T08:00:00Z"


class Machine:
    """A broker with the embedded store on loopback, and listeners beside it."""

    def __init__(self, base: str, folder: Path, client: httpx.AsyncClient) -> None:
        self.base = base
        self.client = client
        self._folder = folder

    def listener(self, port: int, *arguments: str) -> Command:
        self._folder.joinpath(f"{port}-{arguments}").mkdir(parents=True)
        folder = self._folder / f"{port}-{arguments}"
        return Command.of_broker(folder, "listen", "--port", str(port), "--broker", self.base, *arguments)

    async def endpoints(self) -> list[str]:
        """Of the stored subscriptions."""
        bundle = (await self.client.get("/r5/Subscription")).json()
        return sorted(entry["resource"]["endpoint"] for entry in bundle.get("entry", []))

    async def send(self) -> None:
        response = await self.client.post("/r4/Observation", json=observation(HEART_RATE, "ana", AT, 80))
        assert response.status_code == 201, response.text


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {"port": str(port), "data_dir": str(tmp_path / "store"), "egress_allow": ""}
    headers = {"Content-Type": "application/fhir+json"}
    with Command.of_broker(tmp_path, "serve", **settings) as broker:
        await broker.until_ready(base)
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=60) as client:
            yield Machine(base, tmp_path, client)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/listen"


def last_line(command: Command) -> str:
    return command.output.splitlines()[-1]


async def test_a_listener_registers_and_deletes_what_it_registered(machine: Machine) -> None:
    port = free_port()
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        with machine.listener(port, "--content", "id-only" if code else "empty") as listener:
            output = await listener.until_output(ACTIVE)
            assert output.index("is requested") < output.index(ACTIVE)
            assert await machine.endpoints() == [url(port)]
            assert await listener.stop(number) == code
            assert "deleted Subscription/" in listener.output
            assert "Traceback" not in listener.output
        if code:
            assert last_line(listener) == "fhir-broker: stopped by Ctrl-C"
        assert await machine.endpoints() == []


async def test_killed_listeners_leave_nothing_behind_the_next_one(machine: Machine) -> None:
    first, second = free_port(), free_port()
    for port in (first, first, second):
        with machine.listener(port, f"--filter=patient=Patient/p{len(await machine.endpoints())}-{port}") as (
            listener
        ):
            await listener.until_output(ACTIVE)
            assert await machine.endpoints() == [url(port)]
            listener.kill()
    with machine.listener(second, "--keep") as listener:
        await listener.until_output(ACTIVE)
        with machine.listener(first, "--keep") as other:
            await other.until_output(ACTIVE)
            assert await machine.endpoints() == sorted([url(first), url(second)]), "a live one is no leftover"
            assert await other.stop() == 0
        assert await listener.stop() == 0
    assert await machine.endpoints() == sorted([url(first), url(second)]), "--keep"


async def test_a_notification_is_forwarded_and_answered_as_the_application_answers(
    machine: Machine, subscriber: SimulatedSubscriber
) -> None:
    application = subscriber.endpoint("app")
    statuses = iter([200, 503])

    async def answer(_body: bytes) -> Answer:
        return Answer(next(statuses, 200), {"Retry-After": "0"})

    application.answer = answer
    with machine.listener(free_port(), "--forward-to", subscriber.url("app")) as listener:
        await listener.until_output(ACTIVE)
        await machine.send()
        await listener.until_output("answered 503")
        await listener.until_output("answered 200", times=2)
        assert [received.answered for received in application.received] == [200, 503, 200]
        assert await listener.stop() == 0
    with machine.listener(free_port(), "--forward-to", f"http://127.0.0.1:{free_port()}/app") as refused:
        await refused.until_output("does not answer")
        assert ACTIVE not in refused.output, "the handshake was answered 502"
        assert await refused.stop() == 0


async def test_a_listener_that_verifies_takes_only_what_the_broker_signed(machine: Machine) -> None:
    port = free_port()
    forged = {"resourceType": "Bundle", "type": "history"}
    with machine.listener(port, "--verify") as listener:
        output = await listener.until_output(ACTIVE)
        assert "not verified" not in output, "nothing is sent before there is a secret"
        await listener.until_output("(signature verified)", times=1)
        assert "handshake" in output
        await machine.send()
        await listener.until_output("(signature verified)", times=2)
        assert (await machine.client.post(url(port), json=forged)).status_code == 401
        await listener.until_output("refused with 401, not verified: the header webhook-id is missing")
        listener.kill()
    with machine.listener(port, "--verify", "--keep") as next_one:
        await next_one.until_output(ACTIVE)
        await machine.send()
        # it goes on with the subscription that the killed one left
        await next_one.until_output("event-notification #2")
        assert await next_one.stop() == 0
    assert await machine.endpoints() == [url(port)]


async def test_a_listener_that_verifies_lets_the_broker_repeat_what_came_before_its_secret(
    tmp_path: Path,
) -> None:
    port, nobody = free_port(), free_port()
    # it waits for a broker, and has no secret meanwhile
    with Command.of_broker(
        tmp_path, "listen", "--port", str(port), f"--broker=http://127.0.0.1:{nobody}", "--verify"
    ) as listener:
        await listener.until_output("listening on")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert (await client.post(url(port), json={"resourceType": "Bundle"})).status_code == 503
        await listener.until_output("refused with 503, not verified: there is no secret yet")


def test_a_listener_without_a_broker_has_nothing_to_verify_with() -> None:
    refused = run("listen", "--verify")
    assert refused.returncode == 2
    assert "--verify needs --broker" in refused.stderr


async def test_a_bundle_that_is_not_valid_is_reported(tmp_path: Path) -> None:
    port = free_port()
    with Command.of_broker(tmp_path, "listen", "--port", str(port)) as listener:
        await listener.until_output("listening on")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            for name in ("empty", "wrong"):
                bundle = {
                    "resourceType": "Bundle",
                    "id": name,
                    "type": "subscription-notification",
                    "entry": [{"fullUrl": f"urn:uuid:{uuid.uuid4()}", "resource": status(name)}],
                }
                assert (await client.post(url(port), json=bundle)).status_code == 200
        await listener.until_output("not a valid Bundle of its release: Bundle.entry[0].resource.")
        assert "resource.error" in last_line(listener)
        assert listener.output.count("not a valid Bundle") == 1
        assert await listener.stop() == 0


def status(name: str) -> dict[str, object]:
    """Of R5: valid if it is `empty`."""
    reference = {"reference": f"http://127.0.0.1/r5/Subscription/{name}"}
    status: dict[str, object] = {
        "resourceType": "SubscriptionStatus",
        "type": "handshake",
        "subscription": reference,
    }
    return status if name == "empty" else status | {"error": "none"}


async def test_a_listener_that_the_broker_cannot_reach_is_reported_and_leaves_nothing(
    machine: Machine,
) -> None:
    arguments = ("--broker", machine.base, "--port", "0", "--endpoint", "http://10.255.255.1/listen")
    done = run("listen", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "10.255.255.1 is not a public address" in done.stderr
    assert await machine.endpoints() == []


def test_what_is_wrong_with_the_options_is_one_line() -> None:
    for arguments, says in (
        (("--broker", "somewhere"), "--broker somewhere is not a URL"),
        (("--forward-to", "localhost:3000"), "--forward-to localhost:3000 is not a URL"),
        (("--host", "192.0.2.1"), "Cannot listen on 192.0.2.1:9000"),
        (("--port", "70000"), "--port"),
    ):
        done = run("listen", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert says in done.stderr
