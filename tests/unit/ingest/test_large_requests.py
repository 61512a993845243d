"""Other tasks run while a large resource is validated and proposed."""

import asyncio
import threading
from collections.abc import Callable
from typing import cast

from broker.ingest.conditions import Conditions
from broker.ingest.group import GroupCommit
from broker.ingest.intake import Intake
from broker.ingest.requests import ChangeRequest
from broker.model.json_text import LARGE_BYTES
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.changes import Changes
from broker.store.resources import Resources
from tests.unit.ingest.intake_fixture import AppendedChanges, Issues, create

LARGE = create(b'{"resourceType":"Patient","language":"' + b"x" * LARGE_BYTES + b'"}')


class WaitingReferences:
    """Finds references only after another task of the loop has run."""

    def __init__(self) -> None:
        self.has_run = threading.Event()
        self.threads: list[int] = []

    def __call__(self, _release: Release, _type: str, _resource: Resource) -> tuple[tuple[str, str], ...]:
        self.threads.append(threading.get_ident())
        assert self.has_run.wait(60), "no other task ran"
        return ()


async def _submit(references: WaitingReferences, submit: Callable[[Intake], asyncio.Future[object]]) -> None:
    appended = AppendedChanges()
    group = GroupCommit(appended.append)
    committing = asyncio.create_task(group.run())
    intake = Intake(
        cast("Changes", None),
        cast("Resources", None),
        group,
        cast("Conditions", None),
        Issues(),
        references,
    )
    admission = submit(intake)
    await asyncio.sleep(0)
    references.has_run.set()
    await admission
    group.close()
    await committing
    assert len(appended.proposals) == 1


async def test_a_large_resource_is_proposed_in_a_thread() -> None:
    references = WaitingReferences()

    async def admit(intake: Intake, request: ChangeRequest) -> object:
        return await intake.admit(await intake.validate_aside(request))

    await _submit(references, lambda intake: asyncio.ensure_future(admit(intake, LARGE)))
    assert references.threads != [threading.get_ident()]


async def test_what_intake_must_keep_in_order_is_proposed_in_its_turn() -> None:
    references = WaitingReferences()
    references.has_run.set()
    await _submit(references, lambda intake: asyncio.ensure_future(intake.admit(LARGE)))
    assert references.threads == [threading.get_ident()]
