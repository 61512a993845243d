"""`size`: estimates the processor, memory, disk and processes for a load, from measured figures."""

import re
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from broker.cli.output import JsonOption, WideOption, print_json, print_rows
from broker.errors import ConfigurationError
from broker.services import sizing
from broker.services.sizing import Load, Need, Processes
from broker.settings.kinds import DURATION

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)/(s|min|h|d)")
_PER = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_SIZES = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_OFF = "off"
_MUCH = 64 * 1024**3
"""Memory of one server from which on its restart and its rewrites take long."""


@dataclass(frozen=True, slots=True)
class SizeRow:
    """A line of the estimate."""

    what: str
    amount: str
    arithmetic: str


def size(
    readings: Annotated[
        str, typer.Option("--readings", help="How many readings arrive: 500/s, 30/min, 2000/h or 100/d.")
    ],
    subscriptions: Annotated[
        int, typer.Option("--subscriptions", min=0, help="How many subscriptions there are.")
    ],
    retention: Annotated[str, typer.Option("--retention", help="As BROKER_RETENTION.")] = "7d",
    matches: Annotated[
        float,
        typer.Option("--matches", min=0, help="Of how many subscriptions a reading is an event, on average."),
    ] = 1.0,
    audit_retention: Annotated[
        str,
        typer.Option("--audit-retention", help="As BROKER_AUDIT_RETENTION, or off without an audit trail."),
    ] = "2192d",
    *,
    search: Annotated[
        bool, typer.Option("--search/--no-search", help="Whether readings have the default search indexes.")
    ] = True,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Estimate the processor, memory, disk and processes for a load.

    The figures were measured on two cores with readings of 670 bytes (docs/performance.md); docs/sizing.md
    says how to measure yours. It reads no settings and asks no broker.

    Examples:

        fhir-broker size --readings 500/s --retention 7d --subscriptions 20000

        fhir-broker size --readings 2000/h --subscriptions 50 --matches 2 --audit-retention 90d --no-search
    """
    load = Load(
        _rate(readings),
        _seconds("--retention", retention),
        subscriptions,
        matches,
        0.0 if audit_retention == _OFF else _seconds("--audit-retention", audit_retention),
        has_search=search,
    )
    needs, processes = sizing.estimate(load), sizing.processes(load)
    if as_json:
        print_json({"needs": [asdict(need) for need in needs], "processes": asdict(processes)})
        return
    rows = [SizeRow(need.what, _amount(need), need.arithmetic) for need in needs]
    print_rows(rows, SizeRow, "line", as_json=False, wide=wide)
    for line in (*_advice(processes), *_largest(needs)):
        typer.echo(line)


def _rate(text: str) -> float:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"--readings {text} is no rate. Write it as 500/s, 30/min, 2000/h or 100/d.")
    return float(match[1]) / _PER[match[2]]


def _seconds(option: str, text: str) -> float:
    try:
        return float(DURATION.read(text).total_seconds())
    except ValueError:
        raise ConfigurationError(f"{option} {text} is not valid. Write {DURATION.accepts}.") from None


def _amount(need: Need) -> str:
    if need.unit not in {"bytes", "bytes/s"}:
        return f"{need.amount:.2f} {need.unit}"
    unit, factor = next(((unit, factor) for unit, factor in _SIZES if need.amount >= factor), ("bytes", 1))
    return f"{need.amount / factor:,.1f} {unit}{need.unit.removeprefix('bytes')}"


def _advice(processes: Processes) -> list[str]:
    """Which processes to run, so that each needs less than half of a core."""
    if processes.serve:
        return ["Run one `fhir-broker serve` with its embedded store: each needs less than half of a core."]
    store = (
        "one Redis or Valkey"
        if processes.primaries == 1
        else f"a Redis Cluster of {max(3, processes.primaries)} primaries"
    )
    count = f"{processes.api} × api, {processes.match} × match and {processes.dispatch} × dispatch"
    return [
        f"Run {count} on {store}: each process then needs less than half of a core.",
        "Set BROKER_PARTITIONS and BROKER_SHARDS above the number of processes that you will ever run.",
    ]


def _largest(needs: list[Need]) -> list[str]:
    """What to do about memory that is much, or that goes to a part of which less would do."""
    by_name = {need.what: need.amount for need in needs}
    total = by_name["store memory"]
    advice = []
    if by_name.get("store memory: audit trail", 0) * 2 > total:
        todo = "Export it (`fhir-broker audit export`), and shorten BROKER_AUDIT_RETENTION."
        advice.append(f"More than half of the store's memory is the audit trail. {todo}")
    if total > _MUCH:
        todo = "Shorten BROKER_RETENTION, leave out search indexes that nobody uses, or use a Redis Cluster."
        advice.append(f"More than {_MUCH // 1024**3} GiB is much for one server. {todo}")
    return advice
