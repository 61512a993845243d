"""The broker that the targets share ends with their tests."""

from collections.abc import Iterator

import pytest

from tests.fuzz.broker_app import APP


@pytest.fixture(scope="session", autouse=True)
def _stop_broker() -> Iterator[None]:
    yield
    APP.stop()
