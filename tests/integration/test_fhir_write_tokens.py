"""Writing to a FHIR server that asks for access tokens: SMART Backend Services, discovered from its base,
with the key set of the broker.
"""

import json
from pathlib import Path

from broker.model.change import DEFAULT_TENANT
from broker.security.broker_keys import BrokerKeys
from broker.testing.ehr import SimulatedEhr
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, broker_with
from tests.integration.fhir_write_fixture import write_subscription

TARGET = """
[[target]]
name = "ehr"
base = "{base}"
types = ["Observation"]
lookups = ["Patient"]
identifier_system = "urn:broker"
max_entries = 1
"""
SCOPE = "system/Observation.cu system/Patient.s"
PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "4711"}]}


async def test_each_request_to_a_target_has_a_token_that_its_configuration_told_how_to_get(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    BrokerKeys(tmp_path / "keys").rotate(DEFAULT_TENANT, 0)
    async with SimulatedEhr(is_guarded=True) as ehr:
        ehr.store.update("Patient", "77", PATIENT | {"id": "77"})
        targets, outbound = tmp_path / "targets.toml", tmp_path / "outbound.toml"
        targets.write_text(TARGET.format(base=ehr.base))
        rule = {"url": ehr.base, "fhir_base": ehr.base, "client_id": "the-broker", "scope": SCOPE}
        lines = [f"{name} = {json.dumps(value)}" for name, value in rule.items()]
        outbound.write_text("\n".join(["[[endpoint]]", *lines]))
        async with broker_with(
            start_broker,
            subscriber,
            keys_dir=tmp_path / "keys",
            outbound_auth=outbound,
            write_targets=targets,
        ) as fixture:
            client = fixture.client
            ehr.authorization.register("the-broker", SCOPE, jwks_url=f"{client.base_url}/oauth/jwks")
            assert (await client.put("/r4/Patient/ana", json=PATIENT | {"id": "ana"})).status_code == 201
            registered = await register_subscription(client, "/r4", write_subscription())
            await fixture.until_status(registered["id"], "active")
            reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70)
            del reading["device"]
            for count in (1, 2):
                assert (await client.post("/r4/Observation", json=reading)).status_code == 201
                assert await ehr.wait_until(count, "Observation", WAIT_S)
                ehr.authorization.revoke_tokens()
            assert "error" not in await fixture.status_of(registered["id"])
        tokens = [request.headers.get("authorization", "") for request in ehr.requests]
        assert all(token.startswith("Bearer ") for token in tokens)
        assert len(set(tokens)) == 2, "the handshake, the search and a write shared one token"
        assert [request.answered for request in ehr.requests].count(401) == 1, "it is replaced once"
