"""The pages of Subscriptions with access control: a person sees and does what the API allows a client
with the same rights, and the audit trail has it.
"""

from pathlib import Path

import httpx

from broker.model.principal import LOCAL_ADMINISTRATOR
from broker.testing.registration import subscription
from tests.conftest import NO_AUTHORITIES, StartBroker
from tests.integration.audit_client import AuditReader, agent, references
from tests.integration.broker_fixture import VITAL_SIGNS
from tests.integration.fake_issuer import running_issuer
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.integration.test_console_logins import CONFIGURATION, form_token, log_in, new_link, use_link
from tests.smart_clients import register

READERS = {"groups": ["readers"]}


def window(smart: SmartBroker) -> httpx.AsyncClient:
    """A browser of its own."""
    return httpx.AsyncClient(base_url=smart.base_url, timeout=60, trust_env=False, verify=NO_AUTHORITIES)


async def test_a_person_sees_and_does_what_the_api_allows(start_broker: StartBroker, tmp_path: Path) -> None:
    register(tmp_path, "ward", "system/*.cruds")
    register(tmp_path, "auditor", "system/AuditEvent.rs", roles=["auditor"])
    issuers, secret = tmp_path / "issuers.toml", tmp_path / "secret"
    secret.write_text("s3cret\n")
    async with running_issuer() as issuer:
        issuers.write_text(CONFIGURATION.format(url=issuer.url))
        issuer.secret = "s3cret"
        async with (
            smart_broker(
                start_broker,
                tmp_path,
                issuers=issuers,
                console_issuer="hospital",
                console_client_secret=secret,
            ) as smart,
            smart.as_client("ward", "system/*.cruds") as ward,
            smart.as_client("auditor", "system/AuditEvent.rs") as auditor,
            window(smart) as reader,
            window(smart) as administrator,
            window(smart) as of_north,
        ):
            document = subscription("r5", VITAL_SIGNS, "http://127.0.0.1:9/ward")
            registered = await ward.post("/r5/Subscription", json=document)
            assert registered.status_code == 201, registered.text
            ward_id = registered.json()["id"]
            path = f"/console/subscriptions/{ward_id}"

            assert (await reader.get(path)).status_code == 303
            assert (await log_in(reader, issuer, **READERS)).status_code == 303
            own = await reader.get("/console/subscriptions")
            assert "No Subscription meets these conditions." in own.text
            for shown in (path, f"{path}/events", f"{path}/attempts", f"{path}/explain?reference=Patient/a"):
                assert (await reader.get(shown)).status_code == 404, shown
            assert (await reader.get(f"{path}/confirm/pause")).status_code == 403
            assert (await reader.get("/console/new-topic")).status_code == 403
            refused = await reader.post(f"{path}/pause", data={"csrf": form_token(own)})
            assert refused.status_code == 403
            assert "system/Subscription.u" in refused.text

            await use_link(of_north, await new_link(smart, "north"))
            assert ward_id not in (await of_north.get("/console/subscriptions")).text
            elsewhere = await of_north.get("/console/subscriptions")
            for action in ("pause", "retry", "send-test", "rotate-secret", "resend", "activate"):
                token = {"csrf": form_token(elsewhere)}
                assert (await of_north.post(f"{path}/{action}", data=token)).status_code == 404, action

            await use_link(administrator, await new_link(smart))
            page = await administrator.get(path)
            assert page.status_code == 200
            forged = await administrator.post(f"{path}/pause", data={"csrf": "0" * 64})
            assert forged.status_code == 403
            paused = await administrator.post(f"{path}/pause", data={"csrf": form_token(page)})
            assert paused.status_code == 303
            assert (await ward.get(f"/r5/Subscription/{ward_id}")).json()["status"] == "off"
            entries = [
                (agent(event), event["outcome"], event.get("outcomeDesc", ""))
                for event in await AuditReader(auditor).export()
                if f"Subscription/{ward_id}" in " ".join(references(event)) or event["outcome"] == "4"
            ]
            assert (LOCAL_ADMINISTRATOR, "0", "console /subscriptions/{id}") in entries
            assert (LOCAL_ADMINISTRATOR, "0", "console /subscriptions/{id}/pause pause") in entries
            assert any(
                who == "hospital:default:ann" and "pause forbidden" in detail for who, _, detail in entries
            )
