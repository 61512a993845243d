"""Processes of one store compare their settings when they join it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.errors import ConfigurationError
from broker.store import keys, processes
from broker.store.process_identity import own_identity
from broker.store.processes import ProcessRegister
from broker.store.protocol import Store
from broker.store.replies import mapping_of
from tests.conftest import ALL_STORES

STORES = ALL_STORES
_REQUIRED = {"BROKER_BASE_URL": "http://a", "BROKER_RETENTION": "7d"}


def register_of(
    store: Store, required: Mapping[str, str] = _REQUIRED, expected: Mapping[str, str] | None = None
) -> ProcessRegister:
    return ProcessRegister(store, required=required, expected=expected or {"BROKER_RETRY_MAX": "1h"})


async def entries(store: Store) -> dict[str, dict[str, Any]]:
    (reply,) = await store.send([("HGETALL", keys.PROCESSES)])
    return {name.decode(): json.loads(text.split(b" ", 1)[1]) for name, text in mapping_of(reply).items()}


async def test_a_process_with_another_value_is_refused_until_the_first_leaves(store: Store) -> None:
    first, second = register_of(store), register_of(store, _REQUIRED | {"BROKER_BASE_URL": "http://b"})
    await first.join()
    await first.join()
    with pytest.raises(ConfigurationError, match="BROKER_BASE_URL is http://b here and http://a in process"):
        await second.join()
    assert len(await entries(store)) == 1, "a refused process leaves no entry"
    await first.leave()
    await second.join()
    with pytest.raises(ConfigurationError, match="http://a here and http://b in process"):
        await register_of(store).join()


async def test_a_process_is_alone_when_each_other_one_has_ended_for_certain(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of another machine or container: only the lock of the data directory can prove that it has ended
    elsewhere = replace(own_identity(), namespace="pid:[1]")
    monkeypatch.setattr(processes, "own_identity", lambda: elsewhere)
    assert await register_of(store).join()
    monkeypatch.undo()
    another = ProcessRegister(store, required=_REQUIRED, expected={})
    assert not await another.join()
    await another.leave()
    owner = ProcessRegister(store, required={"BROKER_RETENTION": "9d"}, expected={}, predecessor=elsewhere)
    assert await owner.join()
    assert await owner.join()
    assert len(await entries(store)) == 1


async def test_every_difference_is_named_in_one_line(store: Store) -> None:
    await register_of(store).join()
    others = {"BROKER_BASE_URL": "http://b", "BROKER_RETENTION": "8d"}
    with pytest.raises(ConfigurationError) as caught:
        await register_of(store, others).join()
    assert "BROKER_BASE_URL is http://b here" in str(caught.value)
    assert "BROKER_RETENTION is 8d here and 7d in process" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_difference_of_an_expected_setting_is_logged(store: Store) -> None:
    await register_of(store).join()
    with capture_logs() as lines:
        await register_of(store, expected={"BROKER_RETRY_MAX": "2h"}).join()
    [line] = lines
    assert line["log_level"] == "warning"
    assert (line["variable"], line["here"], line["there"]) == ("BROKER_RETRY_MAX", "2h", "1h")


async def test_processes_with_the_same_values_run_together(store: Store) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            await register_of(store).join()
    assert lines == []
    assert len(await entries(store)) == 3


async def test_a_setting_that_the_other_process_does_not_know_is_not_compared(store: Store) -> None:
    await register_of(store, {"BROKER_BASE_URL": "http://a"}).join()
    await register_of(store, _REQUIRED).join()


async def test_a_process_that_has_ended_for_certain_does_not_count(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = replace(own_identity(), started=own_identity().started - 1)
    monkeypatch.setattr(processes, "own_identity", lambda: killed)
    await register_of(store).join()
    monkeypatch.undo()
    await register_of(store, _REQUIRED | {"BROKER_BASE_URL": "http://b"}).join()
    [entry] = (await entries(store)).values()
    assert entry["settings"]["BROKER_BASE_URL"] == "http://b"


async def test_an_entry_expires_and_is_written_again_by_a_renewal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TTL_MS", 0)
    first = register_of(store)
    await first.join()
    monkeypatch.undo()
    await register_of(store, _REQUIRED | {"BROKER_BASE_URL": "http://b"}).join()
    assert len(await entries(store)) == 1
    await first.renew()
    assert len(await entries(store)) == 2
