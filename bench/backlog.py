"""The time that an endpoint needs to catch up after an outage, with `maxCount` 1, 10 and 100.

Three subscriptions match the same events, so their backlogs are equal. Their endpoints return one after the
other when all events are numbered, so matching is not part of the time. It runs from the first to the last
notification that an endpoint accepts, so the wait for the next attempt is not part of it either.
"""

import contextlib
from collections.abc import AsyncIterator

from bench.figures import Figure
from bench.rig import CONNECTIONS, bodies, broker, register, until_numbered
from bench.segments import listening
from bench.wire import PROMPT, Behaviour, Producer

BENCH = "backlog"
MAX_COUNTS = (100, 10, 1)
SPEED_UP = 10.0
_UNAVAILABLE = Behaviour(is_unavailable=True)
_PATIENT = "absent"


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    count = 2_000 if is_quick else 100_000
    seconds: dict[int, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        ids: list[str] = []
        for max_count in MAX_COUNTS:
            ids += await register(program, sink, [_name(max_count)], max_count=max_count, patient=_PATIENT)
            sink.behave(_name(max_count), _UNAVAILABLE)
        messages = [program.message(body) for body in bodies([_PATIENT], count)]
        await Producer(program.port).as_fast_as_answered(messages, CONNECTIONS)
        await until_numbered(program, ids, count, 60 + count / 50)
        for max_count in MAX_COUNTS:
            name = _name(max_count)
            sink.reset()
            sink.behave(name, PROMPT)
            await sink.until_events(name, count, 60 + count / 50)
            sink.behave(name, _UNAVAILABLE)
            seconds[max_count] = max(sink.last_at[name] - sink.first_at[name], 1e-6)
    for max_count, spent in seconds.items():
        yield Figure(BENCH, f"{count:,} events with maxCount {max_count}", spent, "s")
    yield Figure(BENCH, "maxCount 1 / maxCount 10", seconds[1] / seconds[10])
    yield Figure(BENCH, "maxCount 1 / maxCount 100", seconds[1] / seconds[100], at_least=SPEED_UP)


def _name(max_count: int) -> str:
    return f"max-{max_count}"
