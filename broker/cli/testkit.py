"""`testkit`: scenarios that judge a broker, this one or any other."""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import typer

from broker.cli import loop
from broker.cli.broker_client import check_url, trusted
from broker.cli.credentials import auth_for
from broker.errors import ConfigurationError
from broker.testing.broker_process import BrokerProcess, ForeignBroker
from broker.testing.gateway import SimulatedGateway
from broker.testing.subscriber import SimulatedSubscriber
from broker.testing.testkit import SCENARIOS, Kit, Report, Result, Scenario, run_scenarios
from broker.testing.testkit.kit import Restart

_TIMEOUT_S = 30.0
_SCOPE = "system/Subscription.cruds system/Observation.cruds"
_RELEASES = ("r4", "r4b", "r5")


def judge(
    broker: Annotated[
        str | None,
        typer.Option(help="The broker to judge, or its FHIR base. Without it, one is started for the run."),
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option(help="A release to judge: r4, r4b or r5; may be repeated. [default: r4]"),
    ] = None,
    topic: Annotated[
        str, typer.Option(help="A topic of the broker that fires for each vital sign.")
    ] = "http://fhir-broker.org/topics/vital-signs",
    only: Annotated[
        list[str] | None, typer.Option("--scenario", help="Run this scenario; may be repeated.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address at which the broker reaches this machine.")
    ] = "127.0.0.1",
    restart: Annotated[
        str | None,
        typer.Option(help="A shell command that kills and starts the broker, for the scenario kill."),
    ] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for what has to happen.")] = 60.0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the report, as JSON.")] = False,
) -> None:
    """Judge a broker by scenarios: what its subscribers get while something goes wrong.

    Exit code 0 if no scenario failed, 1 if one did.

    Examples:

        fhir-broker testkit

        fhir-broker testkit --release r4 --release r5

        fhir-broker testkit --broker https://other.example/fhir --topic http://other.example/topics/vitals

        fhir-broker testkit --scenario slow --scenario gone --json
    """
    check_url("--broker", broker)
    scenarios = _chosen(only or [])
    releases = _known(release or ["r4"])

    async def judged(bases: Mapping[str, str], own: Restart | None) -> Report:
        results: list[Result] = []
        for name, base in bases.items():
            results += await _judge(name, base, scenarios, topic, host, patience, own, as_json=as_json)
        return Report(tuple(results))

    async def run(_stop: asyncio.Event) -> Report:
        if broker is not None:
            foreign = ForeignBroker(broker)
            command = None if restart is None else _shell(restart)
            return await judged({name: foreign.base(name) for name in releases}, command)
        with tempfile.TemporaryDirectory(prefix="fhir-broker-testkit-") as folder:
            process = BrokerProcess(Path(folder))
            try:
                await asyncio.to_thread(process.start)
                return await judged({name: process.base(name) for name in releases}, _of(process))
            finally:
                await asyncio.to_thread(process.stop)

    def show(report: Report) -> None:
        if as_json:
            typer.echo(json.dumps(report.as_dict()))

    report = loop.run(run, show)
    raise typer.Exit(1 if report.has_failures else 0)


def _chosen(names: list[str]) -> list[Scenario]:
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in by_name:
            raise ConfigurationError(f"--scenario {name}: there is none. Use one of {', '.join(by_name)}.")
    return [by_name[name] for name in names or by_name]


def _known(releases: list[str]) -> list[str]:
    for name in releases:
        if name not in _RELEASES:
            raise ConfigurationError(f"--release {name}: there is none. Use one of {', '.join(_RELEASES)}.")
    return releases


def _of(process: BrokerProcess) -> Restart:
    async def restart() -> None:
        process.kill()
        await asyncio.to_thread(process.start)

    return restart


def _shell(command: str) -> Restart:
    async def restart() -> None:
        process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.DEVNULL)
        code = await process.wait()
        if code:
            raise ConfigurationError(f"--restart: the command ended with {code}.")

    return restart


async def _judge(
    release: str,
    base: str,
    scenarios: list[Scenario],
    topic: str,
    host: str,
    patience_s: float,
    restart: Restart | None,
    *,
    as_json: bool,
) -> list[Result]:
    auth = auth_for(base, _SCOPE)
    async with (
        httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=trusted(), auth=auth) as client,
        SimulatedSubscriber(host, validates=True) as subscriber,
        SimulatedGateway(base, auth=auth) as gateway,
    ):
        kit = Kit(
            base,
            subscriber,
            gateway,
            client,
            topic=topic,
            release=release,
            restart=restart,
            patience_s=patience_s,
        )
        results = []
        async for result in run_scenarios(kit, scenarios):
            results.append(result)
            if not as_json:
                _print(result)
    return results


def _print(result: Result) -> None:
    scenario = result.scenario
    rows = f" ({', '.join(scenario.rows)})" if scenario.rows else ""
    typer.echo(f"{result.verdict:<8}{result.release} {scenario.name}: {scenario.text}{rows}")
    for problem in result.problems:
        typer.echo(f"        {problem}")
