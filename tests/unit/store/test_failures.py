"""Errors of the client library become the broker's own, and the end of an outage is logged once."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

from broker.errors import StoreFull, StoreUnavailable
from broker.store.failures import watched


class _Connection:
    """Gives what `next_results` says, one after the other."""

    def __init__(self, *next_results: Exception | int) -> None:
        self.is_failing = False
        self.outages = 0
        self._next_results = iter(next_results)

    @watched
    async def get(self) -> int:
        result = next(self._next_results)
        if isinstance(result, Exception):
            raise result
        return result


async def test_the_first_reply_after_an_outage_is_logged() -> None:
    connection = _Connection(1, RedisConnectionError("refused"), OSError("reset"), 2, 3)
    with capture_logs() as lines:
        assert await connection.get() == 1
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await connection.get()
        assert lines == []
        assert await connection.get() == 2
        assert await connection.get() == 3
    assert lines == [{"event": "the store answers again", "log_level": "info"}]
    assert connection.outages == 2


async def test_a_store_that_is_full_answers() -> None:
    connection = _Connection(OutOfMemoryError("OOM"), 1)
    with capture_logs() as lines:
        with pytest.raises(StoreFull):
            await connection.get()
        await connection.get()
    assert lines == []
