"""The longest delay of the first events after something that concerns many subscriptions: their registration,
a restart, and a new content of their topic; each less the longest delay with 32 subscriptions, in one run.

One process of the broker. Idle subscriptions, each to a patient of its own, are registered through the API.
Events go to 32 other subscriptions at a moderate rate, from the moment that the last registration was
answered, that the restarted broker is ready, or that the topic's file is announced.
"""

import contextlib
import json
import shutil
import statistics
from collections.abc import AsyncIterator
from pathlib import Path

from bench.figures import Figure
from bench.rig import ROOT, Program, broker, fresh_store, patients, register, register_idle, reload_topics
from bench.segments import listening, paced
from bench.wire import Sink

BENCH = "stalls"
BEYOND_MS = 250
_SUBSCRIPTIONS = 32
_PER_S = 100
_FIRST_S = 3
_RELOAD_S = 10
_TOPIC = "vital-signs.json"


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    counts = (2_000,) if is_quick else (20_000, 100_000)
    names = patients("busy", _SUBSCRIPTIONS)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        folder, store = fresh_store(stack)
        topics = folder / "topics"
        shutil.copytree(ROOT / "topics", topics)
        settings = {"topics_dir": str(topics)}
        usual_ms = 0.0
        registered = 0
        for count in counts:
            async with broker(store=(folder, store), settings=settings) as program:
                if not registered:
                    await register(program, sink, names)
                    await _longest_ms(program, sink, names, _FIRST_S)  # warms up
                    usual_ms = statistics.median(
                        [await _longest_ms(program, sink, names, _FIRST_S) for _ in range(3)]
                    )
                    yield Figure(BENCH, f"longest with {_SUBSCRIPTIONS}", usual_ms, "ms")
                await register_idle(program, sink, count - registered, start=registered)
                registered = count
                delay_ms = await _longest_ms(program, sink, names, _FIRST_S)
                yield _figure(f"after {count:,} registrations", delay_ms, usual_ms)
            async with broker(store=(folder, store), settings=settings) as program:
                delay_ms = await _longest_ms(program, sink, names, _FIRST_S)
                yield _figure(f"after a restart with {count:,}", delay_ms, usual_ms)
                _change_topic(topics / _TOPIC)
                await reload_topics(program)
                delay_ms = await _longest_ms(program, sink, names, _RELOAD_S)
                yield _figure(f"after a reload of the topic of {count:,}", delay_ms, usual_ms)


async def _longest_ms(program: Program, sink: Sink, names: list[str], seconds: float) -> float:
    return max(await paced(program, sink, names, int(seconds * _PER_S), _PER_S)) * 1000


def _figure(name: str, delay_ms: float, usual_ms: float) -> Figure:
    return Figure(BENCH, f"{name}, beyond", delay_ms - usual_ms, "ms", at_most=BEYOND_MS)


def _change_topic(file: Path) -> None:
    """One more parameter to filter by: every subscription to the topic has to be filed again."""
    topic = json.loads(file.read_bytes())
    parameter = f"http://hl7.org/fhir/SearchParameter/Observation-{len(topic['canFilterBy'])}"
    topic["canFilterBy"].append({"resource": "Observation", "filterParameter": "status"})
    topic["canFilterBy"][-1]["description"] = f"The status ({parameter})."
    file.write_text(json.dumps(topic), encoding="utf-8")
