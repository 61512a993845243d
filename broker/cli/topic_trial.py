"""`topics try`: which of the last changes a topic fires on, before a broker stores it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient, Parts, as_plain
from broker.cli.output import JsonOption, WideOption, cell, console, label, print_json, print_table
from broker.errors import ConfigurationError
from broker.model.wording import count_of

_TYPE = "SubscriptionTopic"
_SCOPE = "system/*.r"
"""A trial shows only changes that the client may read, whatever type the topic is about."""
_REPEATED = ("warning", "trigger", "filter", "notification", "problem")
_SHOWN = ("topic", "replaces", *_REPEATED)


def try_out(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file with a SubscriptionTopic as JSON.")],
    count: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many of the last changes to try.")
    ] = 1_000,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Try a topic on the last changes of a broker, without storing it: what it fires on in words, and the
    changes. With access control it needs the role admin and the scope system/*.r.

    Exit code 0 if it fires on a change, 1 if on none, 2 if the topic has an error.

    Examples:

        fhir-broker topics try fast-heart-rate.json

        fhir-broker topics try fast-heart-rate.json --count 10000 --json
    """
    topic = _read(file)
    is_basic = topic["resourceType"] == "Basic"  # a topic as the R4 base has it
    question = {
        "resourceType": "Parameters",
        "parameter": [{"name": "topic", "resource": topic}, {"name": "count", "valueInteger": count}],
    }
    with BrokerClient(base, _SCOPE) as broker:
        path, release = ("Basic/$try", "r4") if is_basic else (f"{_TYPE}/$try", "r5")
        answer = broker.post(path, question, release)
    plain = _as_plain(answer.get("parameter", []))
    if as_json:
        print_json(plain)
    else:
        _show(plain, wide=wide)
    raise typer.Exit(0 if plain["matched"] else 1)


def _read(file: Path) -> dict[str, Any]:
    try:
        topic = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read {file}: {error.strerror}. Name a topic file.") from error
    except ValueError as error:
        raise ConfigurationError(f"{file} is not JSON ({error}). Name a topic file.") from error
    if not isinstance(topic, dict) or topic.get("resourceType") not in {_TYPE, "Basic"}:
        raise ConfigurationError(f"{file} is no SubscriptionTopic. Name a topic file.")
    return topic


def _as_plain(parts: Parts) -> dict[str, Any]:
    """The answer as JSON for scripts: what may be repeated is always a list."""
    plain: dict[str, Any] = {"match": []} | as_plain(parts)
    for name in _REPEATED:
        plain[name] = [part["valueString"] for part in parts if part["name"] == name]
    return plain


def _show(plain: dict[str, Any], *, wide: bool) -> None:
    output = console(wide=wide)
    print_table(output, (), [(label(name), cell(plain[name])) for name in _SHOWN if plain.get(name)])
    matches = plain["match"]
    if matches:
        rows = [(match["reference"], match["interaction"], match["time"]) for match in matches]
        print_table(output, ("resource", "change", "time"), rows)
    examined = count_of(plain["changes"], "change")
    shown = f", the newest {len(matches)} of them above" if len(matches) < plain["matched"] else ""
    output.print(f"It fires on {plain['matched']} of the last {examined}{shown}.", highlight=False)
    if failed := plain.get("failed"):
        output.print(f"It could not be evaluated on {count_of(failed, 'change')}.", highlight=False)
