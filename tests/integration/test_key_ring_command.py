"""`fhir-broker key-ring` as an operator runs it beside a running broker, and a start without a key."""

import asyncio
import json
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.app import migrate_store
from broker.errors import ConfigurationError
from broker.fhir.header_masks import MASK
from broker.fhir.release import adapter
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import SubscriptionId
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.settings import Settings
from broker.store import keys
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, broker_with
from tests.integration.commands import Command, run
from tests.ports import free_port
from tests.stores import SharedStore

HEADERS = [("X-Key", "hunter2")]
JSON = {"Content-Type": "application/json"}


async def key_ring(*arguments: str, code: int = 0, **settings: str) -> str:
    """The output of the command; its error where the exit code is 2."""
    done: subprocess.CompletedProcess[str] = await asyncio.to_thread(run, "key-ring", *arguments, **settings)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


async def test_a_key_is_rotated_resealed_and_dropped_while_the_broker_delivers(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port, data = free_port(), str(tmp_path / "data")
    settings = {"port": str(port), "data_dir": data, "seal_resources": "true"}
    with Command.of_broker(tmp_path, "serve", **settings) as serve:
        base = f"http://127.0.0.1:{port}"
        await serve.until_ready(base)
        headers = {"Content-Type": "application/fhir+json"}
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=30) as client:
            fixture = BrokerFixture(client, subscriber)
            first = await fixture.subscribe("a", headers=HEADERS)
            assert (await client.post(f"/r5/Subscription/{first}/$rotate-secret")).status_code == 200
            before = (await client.get(f"/r5/Subscription/{first}")).json()
            for family in ("one", "two"):
                patient = {"resourceType": "Patient", "id": "ana", "name": [{"family": family}]}
                assert (await client.put("/r4/Patient/ana", json=patient)).is_success
            teapot = await client.post("/readings", json={"kind": "teapot"}, headers=JSON)
            assert teapot.status_code == 202, teapot.text
            [old] = json.loads(await key_ring("list", "--json", data_dir=data))
            assert (old["active"], old["subscriptions"]) == (True, 1)
            assert old["id"] in await key_ring("drop", old["id"], code=2, data_dir=data)

            assert "stays the active one" in await key_ring("rotate", "--prepare", data_dir=data)
            assert "prepared already" in await key_ring("rotate", "--prepare", code=2, data_dir=data)
            await key_ring("rotate", data_dir=data)
            await fixture.subscribe("b", headers=HEADERS)
            rows: list[dict[str, Any]] = json.loads(await key_ring("list", "--json", data_dir=data))
            assert [(row["active"], row["subscriptions"]) for row in rows] == [(False, 1), (True, 1)]
            assert [row["resources"] for row in rows] == [2, 0], "both versions"
            assert [row["readings"] for row in rows] == [1, 0]
            refused = await key_ring("drop", old["id"], code=2, data_dir=data)
            assert "1 Subscription, 2 versions of resources and 1 quarantined reading" in refused
            sealed = "Sealed again: {}, {} of resources and {}.\n"
            first_pass = ("1 Subscription", "2 versions", "1 quarantined reading")
            second_pass = ("0 Subscriptions", "0 versions", "0 quarantined readings")
            assert await key_ring("reseal", data_dir=data) == sealed.format(*first_pass)
            assert await key_ring("reseal", data_dir=data) == sealed.format(*second_pass)
            assert await key_ring("drop", old["id"], data_dir=data) == f"Dropped the key {old['id']}.\n"
            assert (await client.get(f"/r5/Subscription/{first}")).json() == before, "no new version"
            for number, family in enumerate(("one", "two"), 1):
                version = (await client.get(f"/r4/Patient/ana/_history/{number}")).json()
                assert version["name"] == [{"family": family}]
            letters = await client.get("/r4/$dead-letters", params={"id": teapot.json()["deadLetter"]})
            assert "teapot" in letters.text
            await fixture.send()
            for name in ("a", "b"):
                endpoint = await fixture.until_numbers(name, 1)
                assert dict(endpoint.received[-1].headers)["X-Key"] == "hunter2"
        assert await serve.stop() == 0
    # with no broker running, the command starts the store itself
    [row] = json.loads(await key_ring("list", "--json", data_dir=data))
    assert row["subscriptions"] == 2


async def test_a_start_without_a_key_that_the_store_needs_is_refused(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, shared_store: SharedStore, tmp_path: Path
) -> None:
    own = tmp_path / "own.json"
    settings = {"redis_url": shared_store.url, "port": "0"}
    made = await key_ring("create", key_ring=str(own))
    assert str(own) in made
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    assert "exists" in await key_ring("create", code=2, key_ring=str(own))
    assert "Set BROKER_KEY_RING" in await key_ring("list", code=2, **settings)
    async with broker_with(start_broker, subscriber, key_ring=None) as fixture:
        refused = await fixture.client.post("/r5/Subscription", json=fixture.document("a", headers=HEADERS))
        assert refused.status_code == 422
        assert "BROKER_KEY_RING" in refused.text
        plain = await fixture.subscribe("a")
        assert (await fixture.client.post(f"/r5/Subscription/{plain}/$rotate-secret")).status_code == 409
    async with broker_with(start_broker, subscriber, key_ring=own) as fixture:
        await fixture.subscribe("b", headers=HEADERS)
    key_id = RingFile.read(own).active_id
    own.chmod(0o644)
    lists = await asyncio.to_thread(run, "key-ring", "list", key_ring=str(own), **settings)
    assert "every user of this machine can read the key ring" in lists.stdout + lists.stderr
    without = await asyncio.to_thread(run, "serve", **settings)
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert "BROKER_KEY_RING is not set" in without.stderr
    other = tmp_path / "other.json"
    await key_ring("create", key_ring=str(other))
    lacking = await asyncio.to_thread(run, "serve", key_ring=str(other), **settings)
    assert lacking.returncode == 2
    assert f"has no key {key_id}" in lacking.stderr
    lost = await asyncio.to_thread(run, "serve", key_ring=str(tmp_path / "lost.json"), **settings)
    assert lost.returncode == 2
    assert key_id in lost.stderr


async def test_the_migration_seals_headers_that_an_older_broker_stored(
    store: Store, settings: Settings
) -> None:
    document = subscription("r4", "http://example.org/topic", "https://ehr.example/", headers=HEADERS)
    unsealed = adapter(Release.R4).parse_subscription(
        Resource(json.dumps(document).encode()), tenant=DEFAULT_TENANT, id="old"
    )
    subscriptions = Subscriptions(store)
    await subscriptions.put(unsealed, create=True)
    await store.send([("HSET", keys.LAYOUT, "schema", 5)])
    assert settings.redis_url is not None
    assert settings.key_ring is not None
    titles = await migrate_store(settings, settings.redis_url)
    assert "header values of subscriptions are sealed" in titles
    record = await subscriptions.get(DEFAULT_TENANT, SubscriptionId("old"))
    assert record is not None
    assert b"hunter2" not in repr(record).encode()
    assert f"X-Key: {MASK}".encode() in record.subscription.document
    ring = KeyRing(settings.key_ring)
    assert SubscriptionSecrets(ring).reveal(record.subscription).channel.headers == tuple(HEADERS)
    (recorded,) = await store.send([("SMEMBERS", keys.SEALING_KEYS)])
    assert key_id_of(record.subscription.sealed_headers).encode() in recorded


async def test_the_migration_refuses_headers_without_a_key_ring(store: Store, settings: Settings) -> None:
    document = subscription("r5", "http://example.org/topic", "https://ehr.example/", headers=HEADERS)
    unsealed = adapter(Release.R5).parse_subscription(
        Resource(json.dumps(document).encode()), tenant=DEFAULT_TENANT, id="old"
    )
    await Subscriptions(store).put(unsealed, create=True)
    await store.send([("HSET", keys.LAYOUT, "schema", 5)])
    assert settings.redis_url is not None
    with pytest.raises(ConfigurationError, match="Set BROKER_KEY_RING"):
        await migrate_store(replace(settings, key_ring=None), settings.redis_url)
    assert await store.send([("HGET", keys.LAYOUT, "schema")]) == [b"5"]
