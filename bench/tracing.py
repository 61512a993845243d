"""What tracing costs: the processor time of an event with spans of one in a hundred traces, and of every one,
against a broker that records none, in turns. A collector in this process takes the spans.

An event leaves four spans: of the request, of matching, of the delivery and of sending.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator

from aiohttp import web

from bench.figures import Figure, paired_ratio
from bench.rig import Program, broker, patients, register
from bench.segments import Segment, drive_in_turns, listening

BENCH = "tracing"
MOST_CPU = {"of 1 %": 1.05, "of all": 1.25}
"""Of the processor time without tracing."""
_RATIOS = {"of 1 %": "0.01", "of all": "1"}


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    rounds, count = (3, 1_500) if is_quick else (7, 4_000)
    collector = _Collector()
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        url = await stack.enter_async_context(collector.listening())
        programs: dict[str, Program] = {"without": await stack.enter_async_context(broker())}
        for name, ratio in _RATIOS.items():
            settings = {"traces_url": url, "traces_ratio": ratio}
            programs[name] = await stack.enter_async_context(broker(settings=settings))
        names = patients("patient")
        for program in programs.values():
            await register(program, sink, names)
        runs = await drive_in_turns(programs, sink, names, count, rounds)
    for name, segments in runs.items():
        yield Figure(BENCH, f"CPU, spans {name}", statistics.median(_cpu(segments)), "µs/event")
    for name, most in MOST_CPU.items():
        ratio_of_cpu = paired_ratio(_cpu(runs[name]), _cpu(runs["without"]))
        yield Figure(BENCH, f"CPU, spans {name} / without", ratio_of_cpu, at_most=most)
    yield Figure(BENCH, "bytes that the collector got", collector.bytes, "bytes")


class _Collector:
    """Takes every request and counts its bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/v1/traces", self._receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        self.bytes += len(await request.read())
        return web.Response()


def _cpu(segments: list[Segment]) -> list[float]:
    """The processor time of all processes, of each segment."""
    return [sum(segment.cpu_us.values()) for segment in segments]
