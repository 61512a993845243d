"""Endpoints that fail in every way a subscriber's server can fail, beside one that works."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.faults.campaign import Run, Size, running_rig
from tests.faults.certificates import authority
from tests.faults.history import Deactivated
from tests.faults.listener import (
    Behaviour,
    Endpoint,
    accepting,
    answering,
    in_turn,
    now_ms,
    resetting,
    silent,
    streaming,
)
from tests.faults.rig import Rig

CURABLE: dict[str, Behaviour] = {
    "connections reset": resetting,
    "no answer within the time": silent,
    "408": answering(408),
    "429 with Retry-After": answering(429, Retry_After="1"),
    "500": answering(500),
    "503": answering(503),
    "500 with an endless body": streaming(500, b"x" * 65_536, 0.0),
    "503 with a body of a byte a second": streaming(503, b"x", 1.0),
    "every second request 500": in_turn(accepting, answering(500)),
}
"""Failures that a retry may cure: the notification is retried, and the subscription stays active."""
HARMLESS: dict[str, Behaviour] = {
    "200 with an endless body": streaming(200, b"x" * 65_536, 0.0),
    "200 with a body of a byte a second": streaming(200, b"x", 1.0),
}
INCURABLE = {"302": answering(302, Location="/elsewhere"), "400": answering(400)}
_BROKEN_S = 2.0
FaultAction = Callable[[Endpoint], Awaitable[None]]


@contextlib.asynccontextmanager
async def _broken(rig: Rig, endpoint: Endpoint, name: str, behaviour: Behaviour) -> AsyncIterator[None]:
    endpoint.behaviour = behaviour
    rig.fault(f"endpoint: {name}", can_repeat=False)
    try:
        yield
    finally:
        endpoint.behaviour = accepting


async def failing_endpoints(folder: Path, size: Size) -> Rig:
    """Each endpoint has its own fault, all at the same time; then all of them work again."""
    faults = CURABLE | HARMLESS
    patients = [f"p{n}" for n in range(len(faults))]
    async with running_rig(folder, size) as rig:
        # so long that a machine under load answers in time: what is answered late is sent again
        failing = [await rig.subscribe(patient, patient, max_count=5, timeout_s=10) for patient in patients]
        await rig.subscribe("healthy", "ana")
        async with rig.load([*patients, "ana"], per_s=30):
            for _ in range(size.pick(1, 5)):
                async with contextlib.AsyncExitStack() as stack:
                    for endpoint, (name, behaviour) in zip(failing, faults.items(), strict=True):
                        await stack.enter_async_context(_broken(rig, endpoint, name, behaviour))
                    await asyncio.sleep(_BROKEN_S)
                    await rig.until_recovered(
                        "the healthy endpoint beside failing ones", rig.endpoints["healthy"]
                    )
                await rig.until_recovered("the failing endpoints")
    return rig


async def refused_connections(folder: Path, size: Size) -> Rig:
    """Nothing listens at the address for a while."""
    async with running_rig(folder, size) as rig:
        endpoint = await rig.subscribe("s0", "ana", max_count=5)
        async with rig.load(["ana"], per_s=20):
            for _ in range(size.pick(1, 10)):
                await asyncio.sleep(0.5)
                await endpoint.close()
                rig.fault("endpoint: connections refused")
                await asyncio.sleep(1)
                await endpoint.open()
                await rig.until_recovered("an endpoint that refused connections")
    return rig


async def broken_tls(folder: Path, size: Size) -> Rig:
    """An https endpoint has an untrusted certificate for a while, or no TLS at all."""
    pair = authority(folder)
    async with running_rig(folder, size, environment={"SSL_CERT_FILE": str(pair.trusted)}) as rig:
        endpoint = await rig.subscribe("s0", "ana", tls=pair.good, max_count=5)
        breaks: dict[str, FaultAction] = {
            "a certificate that is not accepted": lambda endpoint: endpoint.open(pair.untrusted),
            "no TLS where there was": Endpoint.open_without_tls,
        }
        async with rig.load(["ana"], per_s=20):
            for name, opened in list(breaks.items()) * size.pick(1, 5):
                await asyncio.sleep(0.5)
                await endpoint.close()
                await opened(endpoint)
                rig.fault(f"endpoint: {name}")
                await asyncio.sleep(1)
                await endpoint.close()
                await endpoint.open()
                await rig.until_recovered("an endpoint whose TLS was broken")
    return rig


async def unresolvable_name(folder: Path, size: Size) -> Rig:
    """The client moves its subscription to an unresolvable name (`error`), then back; all missed events
    arrive.
    """
    async with running_rig(folder, size) as rig:
        endpoint = await rig.subscribe("s0", "ana", max_count=5)
        async with rig.load(["ana"], per_s=20):
            for _ in range(size.pick(1, 5)):
                await asyncio.sleep(0.5)
                await rig.change_subscription("s0", "https://nowhere.invalid/hook")
                rig.fault("endpoint: unresolvable name")
                await rig.until_status("s0", "error")
                await rig.change_subscription("s0", endpoint.url)
                await rig.until_recovered("a subscription with an unresolvable name")
    return rig


def in_error(name: str, behaviour: Behaviour) -> Run:
    """The endpoint gives an answer that a retry cannot cure (`error`). Repaired and requested again, it
    resumes.
    """

    async def run(folder: Path, size: Size) -> Rig:
        async with running_rig(folder, size) as rig:
            endpoint = await rig.subscribe("s0", "ana", max_count=5)
            async with rig.load(["ana"], per_s=20):
                for _ in range(size.pick(1, 5)):
                    await asyncio.sleep(0.5)
                    async with _broken(rig, endpoint, name, behaviour):
                        await rig.until_status("s0", "error")
                    await asyncio.sleep(0.3)
                    await rig.change_subscription("s0")
                    await rig.until_recovered("a subscription in error that was requested again")
        return rig

    return run


async def answering_410(folder: Path, size: Size) -> Rig:
    """410 turns the subscription off, and changes do not count until it is requested again; then the numbers
    continue.
    """
    async with running_rig(folder, size) as rig:
        endpoint = await rig.subscribe("s0", "ana", max_count=5)
        for _ in range(size.pick(1, 5)):
            await rig.producer.send("ana", 5)
            assert await rig.settle(20)
            rig.history.add(Deactivated("s0", now_ms()))
            async with _broken(rig, endpoint, "410", answering(410)):
                await rig.producer.send("ana", 2)
                await rig.until_status("s0", "off")
            await rig.change_subscription("s0")
            await rig.until_active("s0", ["ana"])
            await rig.producer.send("ana", 5)
            assert await rig.settle(20)
    return rig


async def dead_endpoint(folder: Path, size: Size) -> Rig:
    """An endpoint is down for many events. The dispatcher's memory must not grow with them; then all arrive
    in order.
    """
    events = size.pick(400, 100_000)
    async with running_rig(folder, size, settle_s=size.pick(60, 1_800)) as rig:
        endpoint = await rig.subscribe("s0", *(f"p{n}" for n in range(40)), max_count=500)
        await rig.producer.send("p0", 20)
        assert await rig.settle(20)
        await endpoint.close()
        rig.fault("endpoint: down for many events")
        before = rig.dispatch[0].resident_bytes()
        async with asyncio.TaskGroup() as lanes:
            for n in range(40):
                lanes.create_task(rig.producer.send(f"p{n}", events // 40))
        grown = rig.dispatch[0].resident_bytes() - before
        rig.figures["events for a dead endpoint"] = events
        rig.figures["growth of the dispatcher in MiB"] = round(grown / 1024**2, 1)
        assert grown < 64 * 1024**2, f"the dispatcher grew by {grown} bytes"
        await endpoint.open()
        await rig.until_recovered("an endpoint that was down for long")
    return rig
