"""docs/tracing.md: its commands give the answers shown, and the collector of an operator gets the trace."""

import shutil
import tempfile
from pathlib import Path

import pytest

from broker.testing.subscriber import SimulatedSubscriber
from tests.collector import Collector
from tests.docs.page import ANSWERS, RUNNABLE, Block, steps
from tests.docs.running import PageRunner

PAGE = Path(__file__).parents[2] / "docs" / "tracing.md"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


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


def test_each_block_is_run_or_compared() -> None:
    for step in steps(PAGE):
        if isinstance(step, Block):
            assert step.language in RUNNABLE | ANSWERS, f"line {step.line}: {step.language!r}"
