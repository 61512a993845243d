"""`doctor`: checks what a broker depends on, and says what to do. Settings come from the environment."""

import asyncio
import os
from collections import Counter

import typer

from broker.app.doctor import Finding, State, examine
from broker.cli.output import JsonOption, WideOption, print_rows
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.telemetry import logs


def doctor(*, as_json: JsonOption = False, wide: WideOption = False) -> None:
    """Check store, settings, clock, disk, names, endpoints, TLS, certificates and permissions.

    It changes nothing, and runs beside brokers with their settings. A failure keeps the broker from working
    or from keeping a promise; a warning may come to that. Each has what to do.

    Exit code 0 without a failure, 1 with one.

    Examples:

        fhir-broker doctor

        BROKER_REDIS_URL=redis://store:6379/0 fhir-broker doctor --json
    """
    findings = _examined()
    print_rows(findings, Finding, "finding", as_json=as_json, wide=wide)
    states = Counter(finding.state for finding in findings)
    if not as_json:
        typer.echo(f"{states[State.FAILURE]} failures, {states[State.WARNING]} warnings")
    if states[State.FAILURE]:
        raise typer.Exit(1)


def _examined() -> list[Finding]:
    try:
        settings = Settings.from_environment(os.environ)
    except ConfigurationError as error:
        return [Finding("settings", State.FAILURE, str(error), "Correct it; everything else waits for that.")]
    logs.configure(
        "error", json=settings.log_format == "json"
    )  # the findings say what is logged as a warning
    return asyncio.run(examine(settings))
