"""The settings of traces and metrics. They are fields of `Settings`."""

from dataclasses import dataclass
from pathlib import Path

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import BASE_URL, PATH, RATIO, TEXT, number


@dataclass(frozen=True)
class TelemetrySettings:
    """Part of `Settings`."""

    traces_url: str | None = setting(
        None,
        BASE_URL,
        "",
        "The collector of traces, as OTLP over HTTP: http://otel-collector:4318/v1/traces (docs/tracing.md)."
        " Unset: no spans are recorded; a traceparent of a producer is passed on nevertheless.",
    )
    traces_headers_file: Path | None = setting(
        None,
        PATH,
        "",
        "A file with headers for BROKER_TRACES_URL, each on a line as Name: value, such as an Authorization.",
    )
    traces_ratio: float = setting(
        0.1,
        RATIO,
        "0.1",
        "The part of all traces that is recorded, from 0 to 1, chosen by the trace id. What fails is "
        "recorded always. Set the same in all processes.",
        agreement=Agreement.EXPECTED,
    )
    metrics_top: int = setting(
        20,
        number(0, 1_000),
        "20",
        "How many subscriptions, and how many tenants, /metrics shows one by one: those with the most "
        "undelivered events. 0: none.",
    )
    traces_service: str = setting(
        "fhir-broker", TEXT, "fhir-broker", "The service.name of the spans of this process."
    )
