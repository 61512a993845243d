"""An endpoint that was away: how long it takes to catch up with `maxCount` 1, 10 and 100.

Three subscriptions match the same events, so each has the same backlog, and their endpoints come back one after the other, when
all events are numbered: what the matcher takes is no part of it. The time runs from the first notification an endpoint accepts
to the last, so the wait for the next attempt is no part of it.
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
_AWAY = Behaviour(is_away=True)
_PATIENT = "absent"


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    count = 2_000 if is_quick else 100_000
    seconds: dict[int, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        program = await stack.enter_async_context(broker())
        ids: list[str] = []
        for most in MAX_COUNTS:
            ids += await register(program, sink, [_name(most)], max_count=most, patient=_PATIENT)
            sink.behave(_name(most), _AWAY)
        messages = [program.message(body) for body in bodies([_PATIENT], count)]
        await Producer(program.port).as_fast_as_answered(messages, CONNECTIONS)
        await until_numbered(program, ids, count, 60 + count / 50)
        for most in MAX_COUNTS:
            name = _name(most)
            sink.forget()
            sink.behave(name, PROMPT)
            await sink.until_events(name, count, 60 + count / 50)
            sink.behave(name, _AWAY)
            seconds[most] = max(sink.last_at[name] - sink.first_at[name], 1e-6)
    for most, spent in seconds.items():
        yield Figure(BENCH, f"{count:,} events with maxCount {most}", spent, "s")
    yield Figure(BENCH, "maxCount 1 / maxCount 10", seconds[1] / seconds[10])
    yield Figure(BENCH, "maxCount 1 / maxCount 100", seconds[1] / seconds[100], at_least=SPEED_UP)


def _name(most: int) -> str:
    return f"max-{most}"
