"""EHRs that the channel `fhir-write` writes to, one by transactions and one by single requests."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from broker.failpoints import Name
from broker.testing.ehr_faults import LoseAnswer, LoseRequest, Refuse, Slow
from tests.faults.campaign import Run, Size, running_rig
from tests.faults.ehr_target import EhrTarget, write_configuration
from tests.faults.rig import Rig
from tests.faults.scenarios.killing import PASSED_S

FAILPOINTS: Sequence[Name] = (
    "delivery.claimed",
    "delivery.built",
    "delivery.sent",
    "delivery.answered",
    "delivery.before-commit",
    "delivery.after-commit",
)
_PATIENTS = tuple(f"p{n}" for n in range(6))
_FAULTS = (LoseAnswer(), Refuse(503), LoseRequest(), Slow(0.3), Refuse(429, 1), LoseAnswer())
_DOWN_S = 0.5


def _plan_faults(rig: Rig, targets: Sequence[EhrTarget]) -> None:
    for target, path in zip(targets, ("", "Observation"), strict=True):
        target.ehr.faults.add(*_FAULTS, path=path)
        for fault in _FAULTS:
            rig.fault(f"EHR: {type(fault).__name__}")


async def _restart(rig: Rig, target: EhrTarget) -> None:
    await target.close()
    rig.fault("EHR: down")
    await asyncio.sleep(_DOWN_S)
    await target.open()
    await rig.until_recovered(f"the EHR {target.name}, which was down", target)


def killed_while_writing(names: Sequence[Name] = FAILPOINTS) -> Run:
    """The dispatcher is killed at each place of an attempt, while the EHRs are slow, refuse for a while and
    lose requests and answers; then each EHR is down for a while.
    """

    async def run(folder: Path, size: Size) -> Rig:
        targets = [EhrTarget("transactions", max_entries=5), EhrTarget("singles", max_entries=1)]
        async with contextlib.AsyncExitStack() as stack:
            for target in targets:
                await target.open()
                stack.push_async_callback(target.close)
            configuration = str(write_configuration(folder, *targets))
            async with running_rig(folder, size, write_targets=configuration) as rig:
                for target in targets:
                    await rig.write_to(target, *_PATIENTS, max_count=5)
                [dispatcher] = rig.dispatch
                async with rig.load(_PATIENTS, per_s=30):
                    for _ in range(size.pick(1, 5)):
                        for name in names:
                            _plan_faults(rig, targets)
                            dispatcher.kill()
                            dispatcher.spawn(failpoint=f"{name}:kill@3")
                            assert await dispatcher.until_ended(PASSED_S), f"{name} was not passed 3 times"
                            rig.fault(f"SIGKILL at {name}")
                            await dispatcher.start()
                        for target in targets:
                            await _restart(rig, target)
        return rig

    return run
