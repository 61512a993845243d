"""`fhir-broker audit` as an auditor runs it."""

import json

import httpx

from broker.model.change import DEFAULT_TENANT
from broker.store import audit_keys
from broker.store.protocol import Store
from tests.conftest import StartBroker
from tests.integration.test_subscriptions_command import Operator
from tests.stores import redis_of

PATIENT = {"resourceType": "Patient", "id": "ana"}


async def test_the_trail_is_listed_exported_and_verified(start_broker: StartBroker, store: Store) -> None:
    async with (
        start_broker() as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        operator = Operator(broker.settings.base_url)
        await client.put("/r4/Patient/ana", json=PATIENT)
        await client.get("/r4/Patient/ana")
        rows = await operator.json("audit", "list", "--patient", "Patient/ana")
        acts = [(row["action"], row["outcome"], row["about"]) for row in rows]
        assert acts == [
            ("read", "success", ["Patient/ana/_history/1"]),
            ("create", "success", ["Patient/ana/_history/1"]),
        ]
        assert len(await operator.json("audit", "list", "--limit", "1")) == 1
        assert await operator.json("audit", "list", "--to", "2001") == []
        lines = (await operator.run("audit", "export", "--from", "2001-01-01")).splitlines()
        events = [json.loads(line) for line in lines]
        assert [event["resourceType"] for event in events] == ["AuditEvent"] * len(lines)
        assert [int(event["id"]) for event in events] == list(range(1, len(lines) + 1))
        verified = await operator.run("audit", "verify")
        assert "are as they were written" in verified
        head = verified.splitlines()[-1].removeprefix("head ")
        assert (await operator.json("audit", "verify", "--head", head))["problem"] is None

        redis, chain = redis_of(store), audit_keys.audit_chain(DEFAULT_TENANT)
        ((block_id, _fields), *_) = await redis.xrange(chain, count=1)
        await redis.xdel(chain, block_id)
        problem = await operator.run("audit", "verify", code=1)
        assert problem.startswith("entry 1: the entries 1 to ")
        assert (await operator.json("audit", "verify", code=1))["bad-entry"] == 1
        refused = await operator.run("audit", "verify", "--head", "x", code=2)
        assert "recorded takes the number of an entry and its digest" in refused
