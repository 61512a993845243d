"""Writing to a FHIR server that asks for access tokens: SMART Backend Services, discovered from its base,
with the key set of the broker.
"""

import json
from pathlib import Path

from broker.model.change import DEFAULT_TENANT
from broker.security.broker_keys import BrokerKeys
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import broker_with, until
from tests.integration.fhir_write_fixture import capabilities, serve, write_subscription
from tests.integration.raw_endpoint import listening
from tests.integration.token_server import token_server
from tests.unit.channels.simulated_fhir_server import SimulatedFhirServer

TARGET = """
[[target]]
name = "ehr"
base = "http://127.0.0.1:{port}/fhir"
types = ["Observation"]
lookups = ["Patient"]
identifier_system = "urn:broker"
max_entries = 1
"""


async def test_each_request_to_a_target_has_a_token_that_its_configuration_told_how_to_get(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    ehr = SimulatedFhirServer(statement=capabilities())
    ehr.add({"resourceType": "Patient", "id": "77", "identifier": [{"system": "urn:mrn", "value": "4711"}]})
    BrokerKeys(tmp_path / "keys").rotate(DEFAULT_TENANT, 0)
    async with (
        token_server() as server,
        listening(
            lambda reader, writer: serve(
                ehr, reader, writer, lambda headers: server.accepts(headers.get("Authorization", ""))
            )
        ) as port,
    ):
        server.configuration = {
            "token_endpoint": server.token_url,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        }
        targets, outbound = tmp_path / "targets.toml", tmp_path / "outbound.toml"
        targets.write_text(TARGET.format(port=port))
        rule = {
            "url": f"http://127.0.0.1:{port}/fhir",
            "client_id": server.client_id,
            "scope": "system/Observation.cu system/Patient.s",
            "fhir_base": f"{server.url}/fhir",
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in rule.items()]
        outbound.write_text("\n".join(["[[endpoint]]", *lines]))
        async with broker_with(
            start_broker,
            subscriber,
            keys_dir=tmp_path / "keys",
            outbound_auth=outbound,
            write_targets=targets,
        ) as fixture:
            server.jwks_url = f"{fixture.client.base_url}/oauth/jwks"
            patient = {"resourceType": "Patient", "id": "ana"}
            patient |= {"identifier": [{"system": "urn:mrn", "value": "4711"}]}  # type: ignore[dict-item]  # JSON
            assert (await fixture.client.put("/r4/Patient/ana", json=patient)).status_code == 201
            registered = await register_subscription(fixture.client, "/r4", write_subscription())
            await fixture.until_status(registered["id"], "active")

            async def send() -> None:
                reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70)
                del reading["device"]
                assert (await fixture.client.post("/r4/Observation", json=reading)).status_code == 201

            async def is_written(count: int) -> bool:
                return len(ehr.writes) == count

            await send()
            await until(lambda: is_written(1))
            assert len(server.requests) == 1, "the handshake, the search and the write shared one token"
            server.revoke()
            await send()
            await until(lambda: is_written(2))
            assert len(server.requests) == 2, "a token that the server refuses is replaced once"
            assert server.refusals == []
            assert "error" not in await fixture.status_of(registered["id"])
