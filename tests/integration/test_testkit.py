"""`fhir-broker testkit`: this broker passes each scenario; scenarios fail on a server that is none, and where
readings are repeated.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.cli import testkit
from broker.errors import ConfigurationError
from broker.testing.gateway import SimulatedGateway
from broker.testing.subscriber import SimulatedSubscriber
from broker.testing.testkit import SCENARIOS, Kit, Report, Result, Scenario, Verdict, run_scenarios
from tests.integration.commands import Command, run
from tests.ports import free_port

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
BUNDLES = ("handshake", "order", "valid", "events", "status")
"""The scenarios that depend on the release."""


class Repeating(SimulatedGateway):
    """Sends each reading twice. The subscriber has both before the next one is sent, so that the scenario
    cannot look before what is repeated has come.
    """

    def __init__(self, base: str, subscriber: SimulatedSubscriber) -> None:
        super().__init__(base)
        self._endpoint, self._subscriber = subscriber.endpoint("testkit-1"), subscriber

    async def send(self, resource: Mapping[str, Any] | bytes, *, label: str = "") -> bool:
        are_sent = [await super(Repeating, self).send(resource, label=label) for _ in range(2)]
        assert await self._subscriber.wait_until(lambda: len(self._endpoint.numbers) >= self.accepted)
        return all(are_sent)


def gateway_to(base: str, _subscriber: SimulatedSubscriber) -> SimulatedGateway:
    return SimulatedGateway(base)


@dataclass
class Judged:
    """A broker in a process of its own, so that it can be killed."""

    serve: Command
    base: str

    async def restart(self) -> None:
        self.serve.kill()
        self.serve.spawn()
        await self.serve.until_ready(self.base)


def named(*names: str) -> list[Scenario]:
    return [scenario for scenario in SCENARIOS if scenario.name in names]


@pytest.fixture
async def judged(tmp_path: Path) -> AsyncIterator[Judged]:
    port = free_port()
    serve = Command.of_broker(tmp_path, "serve", port=str(port), data_dir=str(tmp_path / "data"))
    with serve:
        broker = Judged(serve, f"http://127.0.0.1:{port}")
        await serve.until_ready(broker.base)
        yield broker


async def results_of(
    broker: Judged,
    scenarios: list[Scenario],
    release: str,
    gateway_of: Callable[[str, SimulatedSubscriber], SimulatedGateway] = gateway_to,
) -> dict[str, tuple[Verdict, tuple[str, ...]]]:
    base = f"{broker.base}/{release}"
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
        SimulatedSubscriber(validates=True) as subscriber,
        gateway_of(base, subscriber) as gateway,
    ):
        kit = Kit(
            base,
            subscriber,
            gateway,
            client,
            topic=VITAL_SIGNS,
            release=release,
            restart=broker.restart,
        )
        results = [result async for result in run_scenarios(kit, scenarios)]
    assert {result.release for result in results} == {release}
    return {result.scenario.name: (result.verdict, result.problems) for result in results}


async def test_this_broker_passes_each_scenario(judged: Judged) -> None:
    results = await results_of(judged, list(SCENARIOS), "r4")
    for release in ("r4b", "r5"):
        of_release = await results_of(judged, named(*BUNDLES), release)
        results |= {f"{release} {name}": result for name, result in of_release.items()}
    assert {name: result for name, result in results.items() if result[0] is not Verdict.PASSED} == {}
    assert len(results) == len(SCENARIOS) + 2 * len(BUNDLES)
    repeated = await results_of(judged, named("order"), "r4", Repeating)
    assert repeated["order"][0] is Verdict.FAILED
    assert "the event numbers are" in repeated["order"][1][0]


def test_the_command_starts_a_broker_of_its_own() -> None:
    done = run("testkit", "--scenario", "status", "--release", "r5", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    [scenario] = report["scenarios"]
    assert (scenario["name"], scenario["release"], scenario["verdict"]) == ("status", "r5", "passed")
    assert report["requirements"] == {"passed": ["R-265", "R-360", "R-361"], "failed": [], "skipped": []}


def test_a_scenario_and_a_release_are_named_from_a_list() -> None:
    judge = partial(testkit.judge, "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"--scenario other: there is none\. Use one of handshake, "):
        judge(only=["other"])
    with pytest.raises(ConfigurationError, match=r"--release r3: there is none\. Use one of r4, r4b, r5"):
        judge(release=["r3"])


async def test_a_server_that_is_no_broker_fails() -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"issue": [{"diagnostics": "no Subscription here"}]})

    base = "http://other.example/fhir"
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client,
        SimulatedSubscriber() as subscriber,
        SimulatedGateway(base) as gateway,
    ):
        kit = Kit(base, subscriber, gateway, client, topic=VITAL_SIGNS, patience_s=1)
        results = [result async for result in run_scenarios(kit, SCENARIOS)]
    verdicts = {result.scenario.name: result.verdict for result in results}
    assert verdicts.pop("heartbeat") is Verdict.SKIPPED, "a broker need not have heartbeats"
    assert set(verdicts.values()) == {Verdict.FAILED}
    assert "no Subscription here" in results[0].problems[0]


def test_the_report_names_the_requirements_by_verdict() -> None:
    handshake, order = named("handshake", "order")
    report = Report(
        (
            Result(handshake, "r4", Verdict.PASSED),
            Result(order, "r4", Verdict.FAILED, ("a gap",)),
            Result(order, "r5", Verdict.PASSED),
        )
    )
    assert report.has_failures
    assert report.as_dict()["requirements"] == {
        "passed": ["R-261", "R-262"],
        "failed": ["R-270", "R-274", "R-277"],
        "skipped": [],
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_says_what_it_shows_in_one_sentence(scenario: Scenario) -> None:
    assert scenario.text.endswith(".")
    assert "\n" not in scenario.text
