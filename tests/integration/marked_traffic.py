"""Uses a broker with access control in every way, with markers in all that it is given.

`answers` is what clients were answered with; `shown` is what people in charge of a broker look at: metrics,
statuses, lists of the commands, the exported audit trail. `secrets` are tokens, assertions and signing
secrets that were made on the way.
"""

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import httpx
from redis import asyncio as redis

from broker.app import Running
from broker.model.release import Release
from broker.store.embedded import socket_path
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import Script, until
from tests.integration.channel_taps import CHANNELS, ChannelTaps, Mailbox
from tests.integration.commands import run
from tests.integration.guarded_broker import OBSERVATIONS, GuardedBroker
from tests.integration.marked_poison import break_events
from tests.integration.marked_readings import quarantine_readings
from tests.integration.operations_client import groups, question
from tests.integration.raw_endpoint import answering, listening
from tests.integration.smart_broker import SmartBroker
from tests.marked_resources import Marked
from tests.smart_clients import key_of, register

HEALTH, IDENTIFIER, INBOX = "markerhealth", "markeridentifier", "markerinbox"
SECRET = "hunter2-swordfish"
QUERY, KEY, ANSWER, URL = "markerquery", "markerkey", "markeranswer", "markerurl"
REQUEST_KEY = "markerrequest"
_TYPES = ("Patient", "Encounter", "Device", "DeviceMetric", "Condition", "DiagnosticReport", "Observation")
_ALL, _OWN = "system/*.cruds", "system/Subscription.cruds system/*.rs"
_DEADLINE_S = 120.0
"""Large resources in every release: a loaded machine needs long."""
_COMMANDS = (
    ("subscriptions", "list"),
    ("subscriptions", "show"),
    ("clients", "list"),
    ("audit", "list"),
    ("audit", "verify"),
)
_JSON_PATCH = {"Content-Type": "application/json-patch+json"}


def register_clients(folder: Path) -> Path:
    """`lab` may do everything, `ward` reads and subscribes."""
    folder.mkdir()
    register(folder, "lab", _ALL, roles=["admin", "auditor", "operator"])
    register(folder, "ward", _OWN)
    return folder


def marked(release: Release, resource_type: str) -> list[dict[str, Any]]:
    """Resources of the type, their ids apart; observations are heart rates of ana."""
    fixed: dict[str, Any] = {}
    if resource_type == "Observation":
        reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70)
        fixed = {name: reading[name] for name in ("code", "subject", "effectiveDateTime")}
        fixed["code"]["text"] = HEALTH
    resources = list(Marked(release, HEALTH, IDENTIFIER).resources(resource_type, **fixed))
    for n, each in enumerate(resources):
        each["id"] = "ana" if resource_type == "Patient" and n == 0 else f"{release}-{n}"
        if resource_type == "Observation":
            for name in ("effectivePeriod", "effectiveTiming", "effectiveInstant"):
                each.pop(name, None)
    return resources


class MarkedTraffic:
    """Entered while the broker runs at `base`, with its data in `data`. Unless it is the whole
    traffic, resources are written in R4 only, and few commands are run.
    """

    def __init__(
        self,
        base: str,
        data: Path,
        subscriber: SimulatedSubscriber,
        mails: Mailbox,
        clients: Path,
        *,
        is_whole: bool,
    ) -> None:
        self._is_whole = is_whole
        self._base = base
        self._data = data
        running = cast("Running", SimpleNamespace(settings=SimpleNamespace(base_url=base)))
        self._stack = AsyncExitStack()
        self._guarded = GuardedBroker(clients, subscriber)
        self._guarded.smart = SmartBroker(
            running, httpx.AsyncClient(base_url=base, timeout=60, trust_env=False), clients
        )
        self._taps = ChannelTaps(self._guarded, mails)
        self._hooks: dict[str, str] = {}
        self.answers: list[str] = []
        self.shown: dict[str, str] = {}
        self.secrets: list[str] = []

    async def __aenter__(self) -> Self:
        smart = self._guarded.smart
        await self._stack.enter_async_context(smart.client)
        self._guarded.lab = await self._stack.enter_async_context(self._client("lab", _ALL))
        self._guarded.ward = await self._stack.enter_async_context(self._client("ward", _OWN))
        self._stack.push_async_callback(self._taps.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _client(self, client_id: str, scope: str) -> httpx.AsyncClient:
        client = self._guarded.smart.as_client(client_id, scope)

        async def keep(response: httpx.Response) -> None:
            await response.aread()
            sent = response.request
            if sent.url.path == "/oauth/token":
                fields = dict(each.split("=", 1) for each in sent.content.decode().split("&"))
                self.secrets += [fields["client_assertion"], response.json()["access_token"]]
            elif "$rotate-secret" not in sent.url.path and "binding-token" not in sent.url.path:
                self.answers.append(f"{response.headers!r} {response.text}")

        client.event_hooks["response"].append(keep)
        return client

    async def exercise(self) -> None:
        """Everything that happens at a broker, one after the other."""
        await self._be_refused()
        await self._subscribe()
        await self._write()
        await self._fail()
        await self._read()
        await quarantine_readings(self._guarded.lab, HEALTH)
        await self._use_the_inbox()
        await until(self._has_arrived, _DEADLINE_S)

    async def _ask(self, method: str, url: str, body: Any = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, str | bytes | None) else json.dumps(body)
        response = await self._guarded.lab.request(method, url, content=content, headers=headers)
        assert response.status_code < 500, response.text
        return response

    async def _be_refused(self) -> None:
        """Bad credentials, and input that is refused."""
        smart = self._guarded.smart
        foreign = smart.form("ward", _OWN, client_assertion=smart.assertion("ward", key=key_of("stranger")))
        wrong = smart.form("ward", _OWN, client_assertion=f"{KEY}.{KEY}.{KEY}")
        revoked = await smart.token("ward", _OWN)
        self.secrets += [str(foreign["client_assertion"]), revoked]
        for form in (foreign, wrong, smart.form(KEY, _OWN), {"grant_type": KEY, "scope": KEY}):
            refused = await smart.client.post("/oauth/token", data=form)
            assert refused.status_code in {400, 401}
        form = {"token": revoked} | smart.form("ward", _OWN)
        for path in ("/oauth/introspect", "/oauth/revoke"):
            answer = await smart.client.post(path, data=form | {"client_assertion": smart.assertion("ward")})
            assert answer.status_code < 500
        for credentials in (f"Bearer {KEY}", f"Basic {base64.b64encode(KEY.encode()).decode()}", KEY):
            refused = await smart.client.get("/r4/Patient/ana", headers={"Authorization": credentials})
            assert refused.status_code == 401, refused.text
        for release in ("r4", "r5"):
            for body in (
                *(f"{{{HEALTH}", f'{{"resourceType": "{HEALTH}"}}', f'{{"{HEALTH}": 1}}', "[" * 100 + HEALTH),
                *(
                    {"resourceType": "Patient", name: HEALTH}
                    for name in (HEALTH, "birthDate", "gender", "name")
                ),
                {"resourceType": "Patient", "text": {"status": "generated", "div": f"<p>{HEALTH}"}},
            ):
                assert (await self._ask("POST", f"/{release}/Patient", body)).status_code >= 400
                await self._ask("POST", f"/{release}/Patient/$validate", body)
                entry = {"resource": body, "request": {"method": "POST", "url": "Patient"}}
                bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
                await self._ask("POST", f"/{release}", bundle)
            document = subscription(release, HEALTH, f"http://192.0.2.1/{HEALTH}", filters=[f"x={QUERY}"])
            assert (await self._ask("POST", f"/{release}/Subscription", document)).status_code >= 400
        await self._ask("POST", "/r5/$business-event", question(event=HEALTH))

    async def _subscribe(self) -> None:
        """Subscriptions of every release with secrets, and one of each channel. One endpoint fails at first,
        one refuses, one answers with markers.
        """
        await self._taps.register()
        await self._taps.open()
        subscriber = self._guarded.subscriber
        for release in ("r4", "r4b", "r5"):
            headers = [("Authorization", f"Bearer {SECRET}"), ("X-Key", SECRET)]
            url = subscriber.url(release)
            document = subscription(release, OBSERVATIONS, url, content="full-resource", headers=headers)
            response = await self._guarded.ward.post(
                f"/{release}/Subscription",
                json=document,
                headers={"Idempotency-Key": f"{REQUEST_KEY}-{release}"},
            )
            assert response.status_code == 201, response.text
            self._hooks[release] = str(response.json()["id"])
        for subscription_id in self._hooks.values():
            await self._guarded.until_status(subscription_id, "active")
            rotated = await self._guarded.ward.post(f"/r5/Subscription/{subscription_id}/$rotate-secret")
            assert rotated.status_code == 200, rotated.text
            self.secrets.append(rotated.json()["parameter"][0]["valueString"].removeprefix("whsec_"))
        subscriber.endpoint("r4").answer = Script(503, 500, 200)
        subscriber.endpoint("r4b").answer = Script(400)

    async def _write(self) -> None:
        releases = tuple(Release) if self._is_whole else (Release.R4,)
        readings = sum([await self._write_resources(release) for release in releases])
        reading = marked(Release.R4, "Observation")[0]
        url = f"/r4/Observation?identifier=urn:x|{QUERY}"
        await self._ask("PUT", url, reading)
        await self._ask("POST", "/r4/Observation", reading, **{"If-None-Exist": f"identifier={QUERY}"})
        await self._ask(
            "POST", "/r4/Observation", reading, **{"Idempotency-Key": REQUEST_KEY, "X-Request-Id": "r-1"}
        )
        patch = [{"op": "add", "path": "/language", "value": HEALTH}]
        patched = await self._ask("PATCH", "/r4/Observation/r4-0", patch, **_JSON_PATCH)
        assert patched.status_code == 200, patched.text
        entry = {"resource": reading, "request": {"method": "POST", "url": "Observation"}}
        for kind in ("transaction", "batch"):
            bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
            assert (await self._ask("POST", "/r4", bundle)).status_code == 200
        await self._ask("DELETE", "/r4/Condition/r4-0")
        subscriber = self._guarded.subscriber
        for name in ("r4", "r5"):
            numbers = subscriber.endpoint(name).numbers
            await subscriber.wait_until(lambda: len(numbers) >= readings, _DEADLINE_S)  # noqa: B023 awaited here
            assert len(numbers) >= readings

    async def _write_resources(self, release: Release) -> int:
        """One resource of each type alone, the others in one batch; the count of observations."""
        resources = [each for resource_type in _TYPES for each in marked(release, resource_type)]
        entries = []
        observations = 1
        for each in resources:
            url = f"{each['resourceType']}/{each['id']}"
            if each["id"] in {f"{release}-0", "ana"}:
                response = await self._ask("PUT", f"/{release}/{url}", each, **{"User-Agent": QUERY})
                assert response.status_code in {200, 201}, response.text
            elif release is not Release.R4B:  # it has the same elements as R4 but for a few types
                entries.append({"resource": each, "request": {"method": "PUT", "url": url}})
                observations += each["resourceType"] == "Observation"
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        if entries:
            response = await self._ask("POST", f"/{release}", bundle)
            statuses = {entry["response"]["status"][:3] for entry in response.json()["entry"]}
            assert statuses == {"201"}, response.text
        return observations

    async def _fail(self) -> None:
        """An endpoint that answers with markers, and the dead letters."""
        body = b"HTTP/1.1 400 %s\r\nX-Reason: %s\r\nContent-Length: 12\r\n\r\n%s" % ((ANSWER.encode(),) * 3)
        async with listening(answering(body)) as port:
            document = subscription("r5", OBSERVATIONS, f"http://127.0.0.1:{port}/{URL}?token={URL}")
            response = await self._guarded.ward.post("/r5/Subscription", json=document)
            assert response.status_code == 201, response.text
            await self._guarded.until_status(response.json()["id"], "error")
        await break_events(self._guarded, self._data, marked(Release.R4, "Observation")[1])
        for operation in ("redrive-dead-letters", "dead-letters", "discard-dead-letters"):
            answer = await self._ask("POST", f"/r5/${operation}", question(kind="event"))
            self.shown[operation] = answer.text

    async def _read(self) -> None:
        for release in ("r4", "r4b", "r5"):
            for path in (
                *("Patient/ana", "Observation/r4-0", "Observation/r4-0/_history/1"),
                f"Observation?code={QUERY}",
                f"Patient?identifier={QUERY}&name={QUERY}&_summary=true",
                f"Subscription?url={QUERY}",
                *(
                    f"Subscription/{self._hooks['r5']}{suffix}"
                    for suffix in ("", "/$events?content=full-resource")
                ),
            ):
                await self._ask("GET", f"/{release}/{path}")
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            await self._ask("POST", f"/{release}/Patient/_search", f"identifier={QUERY}", **form)
        reading = marked(Release.R4, "Observation")[0]
        document = self._guarded.document("never")
        for subscription_id in (*self._hooks.values(), *self._taps.ids.values()):
            url = f"/r4/Subscription/{subscription_id}"
            await self._ask("POST", f"{url}/$explain", question(change="Observation/r4-0"))
            await self._ask("POST", f"{url}/$explain", question(resource=reading))
            await self._ask("POST", f"{url}/$send-test")
            await self._ask("POST", f"{url}/$resend", question(eventsSinceNumber=1, eventsUntilNumber=2))
        dry_run = await self._ask("POST", "/r4/Subscription/$dry-run", question(subscription=document))
        assert dry_run.status_code == 200, dry_run.text

    async def _use_the_inbox(self) -> None:
        """Entries of a gateway: one that is accepted, and some that are refused."""
        reading = json.dumps(
            observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 70) | {"note": [{"text": INBOX}]}
        )
        async with redis.Redis(unix_socket_path=str(socket_path(self._data)), protocol=2) as store:
            for fields in (
                {"resource": reading},
                {"resource": f"{{{INBOX}"},
                {"resource": reading, INBOX: "1"},
                {"resource": json.dumps({"resourceType": "Observation", "status": INBOX})},
            ):
                await store.xadd("fhir:inbox", cast("Any", fields))

        async def are_refused() -> bool:
            response = await self._guarded.lab.post("/r5/$dead-letters", json=question(kind="inbox"))
            return len(groups(response.json(), "dead-letter")) == 3

        await until(are_refused)

    async def look_at_everything(self, folder: Path) -> None:
        """What people in charge see."""
        client = self._guarded.smart.client
        token = await self._guarded.smart.token("lab", _ALL)
        self.secrets.append(token)
        headers = {"Authorization": f"Bearer {token}"}
        for path in ("/metrics", "/readyz", "/livez", "/r5/Subscription/$status"):
            self.shown[path] = (await client.get(path, headers=headers)).text
        for subscription_id in (*self._hooks.values(), *self._taps.ids.values()):
            for path in ("$status", "$delivery"):
                url = f"/r5/Subscription/{subscription_id}/{path}"
                self.shown[url] = (await client.get(url, headers=headers)).text
        key = folder / "lab.pem"
        key.write_bytes(key_of("lab").pem)
        access = ("--client-id", "lab", "--key", str(key), "--base", self._base)
        commands = (("audit", "export"), ("dead-letters", "list"), *(_COMMANDS if self._is_whole else ()))
        for command in commands:
            of = (self._hooks["r4"],) if command == ("subscriptions", "show") else ()
            done = await asyncio.to_thread(run, *command, *of, *access)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            if command == ("dead-letters", "list"):
                self.answers.append(done.stdout)  # it quotes what a gateway wrote
            else:
                self.shown[" ".join(command)] = done.stdout + done.stderr
        held = await asyncio.to_thread(run, "key-ring", "list", "--json", data_dir=str(self._data))
        self.shown["key-ring list"] = held.stdout
        key.unlink()

    async def _has_arrived(self) -> bool:
        return self.is_everywhere()

    def is_everywhere(self) -> bool:
        """Whether the marked observations came by each channel that carries resources."""
        pushed = [self._taps.arrived(channel) for channel in CHANNELS if channel != "email"]
        return all(HEALTH in each for each in pushed) and bool(self._taps.arrived("email"))
