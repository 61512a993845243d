"""docs/tracing.md: its commands give the answers shown, and the collector of an operator gets the trace."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.collector import Collector
from tests.docs.page import ANSWERS, RUNNABLE, Block, steps
from tests.docs.running import PageRunner
from tests.integration.commands import Command, environment
from tests.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "tracing.md"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"{1:032x}"
"""A trace that every ratio above zero samples."""


async def test_the_trace_on_the_page_reaches_the_subscriber_and_a_collector(
    subscriber: SimulatedSubscriber,
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    endpoint = subscriber.url("").removeprefix("http://").rstrip("/")
    with tempfile.TemporaryDirectory(prefix="docs") as folder:
        async with Collector() as collector:

            def is_whole() -> bool:
                return collector.has_whole(TRACE, "00f067aa0ba902b7")

            settings = {"traces_url": collector.url, "traces_ratio": "1"}
            runner = PageRunner(Path(folder), endpoint, settings)
            assert await runner.run(PAGE, lambda: collector.until(is_whole)) == 2
            send = collector.named("send", TRACE)[0]
            names = [span.name for span in collector.chain(send)]
    assert names == ["PUT /{release}/{type}/{id}", "match", "deliver", "send"]
    traceparents = [
        dict(request.headers).get("traceparent") for request in subscriber.endpoint("traced").received
    ]
    assert f"00-{TRACE}-{send.span_id}-01" in traceparents
    table = PAGE.read_text()
    assert all(f"| `{name}` |" in table for name in names)


async def test_the_settings_of_the_page_send_spans_with_the_header_of_the_file(tmp_path: Path) -> None:
    [code] = [
        step.code for step in steps(PAGE) if isinstance(step, Block) and "BROKER_TRACES_URL" in step.code
    ]
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer of-the-collector\n")
    port = free_port()
    base, env = f"http://127.0.0.1:{port}", environment(port=str(port))
    async with Collector() as collector:
        code = code.replace("http://otel-collector:4318/v1/traces", collector.url)
        code = code.replace("/run/secrets/traces-headers", str(headers))
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        with Command(["bash", "-euc", code], tmp_path / "broker.log", env, tmp_path) as broker:
            await broker.until_ready(base)
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
                put = await client.put(
                    "/r4/Patient/a",
                    json={"resourceType": "Patient", "id": "a"},
                    headers={"traceparent": f"00-{SAMPLED}-00f067aa0ba902b7-01"},
                )
            assert put.status_code == 201, put.text
            await collector.until(lambda: collector.named("PUT /{release}/{type}/{id}", SAMPLED))
    assert {each.get("Authorization") for each in collector.headers} == {"Bearer of-the-collector"}


def test_each_block_is_run_or_compared() -> None:
    for step in steps(PAGE):
        if isinstance(step, Block):
            assert step.language in RUNNABLE | ANSWERS, f"line {step.line}: {step.language!r}"
