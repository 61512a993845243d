"""The event loop's lag is measured while `measured_lag` is entered."""

import asyncio
import time

from broker.telemetry import loop_lag
from tests.metrics import process_page, total


def read(sample: str, **labels: str) -> float:
    return total(process_page(), f"broker_event_loop_lag_seconds_{sample}", **labels)


async def test_a_blocked_loop_is_late_by_the_rest_of_the_block() -> None:
    with loop_lag.measured_lag():
        time.sleep(loop_lag.INTERVAL_S + 0.06)  # noqa: ASYNC251 it blocks on purpose
        async with asyncio.timeout(60):
            while not read("count"):  # noqa: ASYNC110 the probe sets no event
                await asyncio.sleep(0)
    assert read("sum") >= 0.05
    assert read("bucket", le="0.05") == 0


async def test_it_stops_with_its_context() -> None:
    with loop_lag.measured_lag():
        pass
    await asyncio.sleep(loop_lag.INTERVAL_S + 0.02)
    assert read("count") == 0
