"""Connections to endpoints, without a network."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from broker.egress.http_connection import HttpConnection, ResponseLimits


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_lost_connection_is_freed_without_the_garbage_collector() -> None:
    connection = HttpConnection(ResponseLimits(10))
    connection.connection_lost(None)
    left = weakref.ref(connection)
    del connection
    assert left() is None
