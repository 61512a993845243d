"""Announcements of what was written, within the process that wrote it."""

from typing import cast

import pytest

from broker.errors import StoreUnavailable
from broker.model.change import Tenant
from broker.store.awaited import Awaited, Written
from broker.store.protocol import Store


class StoreThatIsAway:
    async def send(self, commands: object) -> object:
        raise StoreUnavailable("The store is unavailable.")


async def test_the_process_that_wrote_a_resource_hears_of_it_before_the_others_and_without_the_store() -> (
    None
):
    awaited = Awaited(cast("Store", StoreThatIsAway()))
    heard: list[Written] = []
    awaited.listen(heard.append)
    with pytest.raises(StoreUnavailable):
        await awaited.announce(Tenant("a"), ["Device/1"])
    assert heard == [Written(Tenant("a"), ["Device/1"])]
