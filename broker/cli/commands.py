"""The commands of `fhir-broker` by name: where each is, and its line in `fhir-broker --help`.

A module is imported when one of its commands runs or shows its help, so that `--version` and `--help` wait
for none.
"""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from typer import Typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from broker.cli import credentials, settings_file


class Command(NamedTuple):
    """A function, or the `Typer` of a group, in a module of this package. `summary` is the first sentence of
    its help. One that reads settings takes the file of `--config`.
    """

    module: str
    attribute: str
    summary: str
    reads_settings: bool = False


COMMANDS: Mapping[str, Command] = {
    "serve": Command(
        "processes",
        "serve",
        "Run all roles: API, matcher, dispatcher and, without BROKER_REDIS_URL, the embedded store.",
        reads_settings=True,
    ),
    "api": Command(
        "processes",
        "api",
        "Run the HTTP API and the reader of the inbox stream only, on the store of BROKER_REDIS_URL.",
        reads_settings=True,
    ),
    "match": Command(
        "processes", "match", "Run a matcher only, on the store of BROKER_REDIS_URL.", reads_settings=True
    ),
    "dispatch": Command(
        "processes",
        "dispatch",
        "Run a dispatcher only, on the store of BROKER_REDIS_URL.",
        reads_settings=True,
    ),
    "mqtt": Command(
        "processes", "mqtt", "Take the messages of an MQTT server as readings.", reads_settings=True
    ),
    "backup": Command(
        "backup",
        "backup",
        "Copy the data of the embedded store to a folder, also while the broker runs.",
        reads_settings=True,
    ),
    "restore": Command(
        "backup",
        "restore",
        "Bring the data of a backup to BROKER_DATA_DIR, which no process may use.",
        reads_settings=True,
    ),
    "doctor": Command(
        "doctor",
        "doctor",
        "Check store, settings, clock, disk, names, endpoints, TLS, certificates and permissions.",
        reads_settings=True,
    ),
    "demo": Command(
        "demo", "demo", "Start a broker, subscribers of three FHIR releases and a gateway, and show them."
    ),
    "conformance-report": Command(
        "conformance_report",
        "conformance_report",
        "Report how resources meet their profiles, by profile and element.",
        reads_settings=True,
    ),
    "console-login": Command(
        "console_login",
        "console_login",
        "Print a link that logs you in to the console as an administrator, once.",
        reads_settings=True,
    ),
    "docs": Command(
        "documentation", "documentation", "Show the documentation of this version, without a network."
    ),
    "erase": Command("erase", "erase", "Remove what the store holds about a person.", reads_settings=True),
    "explain": Command(
        "explain", "explain", "Show why a change would, or would not, be notified to a subscription."
    ),
    "listen": Command("listen", "listen", "Receive notifications, print each, and forward them if asked."),
    "migrate": Command(
        "migrate",
        "migrate",
        "Migrate the data set to the schema that this version of the broker needs.",
        reads_settings=True,
    ),
    "simulate": Command(
        "simulate",
        "simulate",
        "Post simulated heart rate, blood pressure, SpO2, respiration, temperature and glucose readings.",
        reads_settings=True,
    ),
    "size": Command("size", "size", "Estimate the processor, memory, disk and processes for a load."),
    "testkit": Command(
        "testkit",
        "judge",
        "Judge a broker by scenarios: what its subscribers get while something goes wrong.",
    ),
    "completion": Command(
        "completion", "completion", "Print the script that makes a shell complete commands and options."
    ),
    "config": Command(
        "configuration",
        "app",
        "Check and show the settings, from the environment and from a TOML file.",
        reads_settings=True,
    ),
    "audit": Command("audit", "app", "List, export and verify the audit trail."),
    "dead-letters": Command(
        "dead_letters",
        "app",
        "List, show, redrive and discard changes, events and inbox entries that could not be processed.",
    ),
    "subscriptions": Command(
        "subscriptions",
        "app",
        "Show Subscriptions and attempts; pause, activate, delete, sign, adopt, retry and test them; resend"
        " events.",
    ),
    "clients": Command(
        "clients", "app", "Register, list, show, enable, disable and remove clients, and rotate their keys."
    ),
    "key-ring": Command(
        "key_ring",
        "app",
        "Make, show, rotate and drop the keys that seal secrets in the store.",
        reads_settings=True,
    ),
    "keys": Command(
        "keys",
        "app",
        "List, rotate and check the keys with which the broker gets tokens from others.",
        reads_settings=True,
    ),
    "mappings": Command(
        "mappings",
        "app",
        "Check, try, list, document and import the mappings of device payloads.",
        reads_settings=True,
    ),
    "topics": Command(
        "topics", "app", "List and show the topics of a broker, and check and try topic files."
    ),
}


_SENDS = frozenset({"base", "broker"})
"""A command with one of these parameters sends requests to a broker, and so may need an access token."""


class CommandGroup(TyperGroup):
    """The group `fhir-broker`, with the commands of the table."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 the signature is typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 the signature is typer's
        command = COMMANDS.get(cmd_name)
        return None if command is None else _Deferred(cmd_name, command)


class _Deferred(TyperCommand):
    """Stands for a command until it is called."""

    def __init__(self, name: str, command: Command) -> None:
        super().__init__(name, short_help=command.summary)
        self._command = command

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """That of the command itself, which is then called instead of this one."""
        return load(str(self.name), self._command).make_context(*arguments, **options)


def load(name: str, command: Command) -> Any:
    """Imports the command, and adds the options of its credentials and of its settings."""
    target = getattr(importlib.import_module(f"broker.cli.{command.module}"), command.attribute)
    if not isinstance(target, Typer):
        single = Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        single.command(name)(target)
        target = single
    loaded = get_command(target)
    for each in (loaded, *getattr(loaded, "commands", {}).values()):
        if _SENDS & {parameter.name for parameter in each.params}:
            each.params.extend(credentials.options())
        if command.reads_settings and not getattr(each, "commands", None):
            each.params.extend(settings_file.options())
    return loaded
