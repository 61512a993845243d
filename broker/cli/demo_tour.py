"""The stage of the console's guided tour in a demo: one more subscriber, whose endpoint can be broken and
mended, and readings of a patient of its own.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from broker.cli.demo_clients import TOUR, DemoClients
from broker.clock import SystemClock, to_instant
from broker.errors import Issue, Unprocessable
from broker.services.tour import TourFacts, TourStep
from broker.testing.gateway import SimulatedGateway
from broker.testing.registration import subscription
from broker.testing.subscriber import Answer, Endpoint, SimulatedSubscriber

TOPIC = "http://fhir-broker.org/topics/vital-signs"
PATIENT = "Patient/tour"
_EFFECT_S = 30.0
_POLL_S = 0.05
_HEART_RATES = (120, 135)
_FHIR = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
_BUSY = Answer(503)


@dataclass(frozen=True, slots=True)
class _Set:
    """What the stage is built of, once the broker and the subscribers of the demo are there."""

    base: str
    subscriber: SimulatedSubscriber
    gateway: SimulatedGateway
    client: httpx.AsyncClient


class DemoTour:
    """A `TourStage`. `begin` builds it; `aclose` ends its connections."""

    def __init__(self) -> None:
        self.subscription_id = ""
        self._set: _Set | None = None
        self._readings = 0

    @property
    def is_ready(self) -> bool:
        return self._set is not None

    def begin(
        self,
        base_url: str,
        subscriber: SimulatedSubscriber,
        gateway: SimulatedGateway,
        clients: DemoClients,
    ) -> None:
        base = f"{base_url}/r5"
        client = httpx.AsyncClient(timeout=30, trust_env=False, auth=clients.auth(TOUR, base), headers=_FHIR)
        self._set = _Set(base, subscriber, gateway, client)

    async def aclose(self) -> None:
        if self._set is not None:
            await self._set.client.aclose()

    async def facts(self, step: TourStep) -> TourFacts:
        """What the step has come to, from the broker and from what the endpoint has received."""
        match step:
            case TourStep.TOPIC:
                return TourFacts(True, True, [("topic", TOPIC), ("patient", PATIENT)], await self._topic())
            case TourStep.SUBSCRIBE:
                return await self._subscribed()
            case TourStep.HANDSHAKE:
                return self._handshake()
            case TourStep.EVENT:
                return self._event()
            case TourStep.FAILURE:
                return await self._failure()
            case TourStep.RECOVERY:
                return self._recovery()
            case TourStep.REPLAY:
                return self._replay()
            case TourStep.END:
                return TourFacts(True, True, self._summary())

    async def perform(self, step: TourStep) -> None:
        match step:
            case TourStep.SUBSCRIBE:
                await self._subscribe()
            case TourStep.EVENT:
                await self._send_reading()
                await self._wait(lambda: bool(self._endpoint.numbers))
            case TourStep.FAILURE:
                self._endpoint.answer = _refuse
                await self._send_reading()
                await self._wait(lambda: bool(self._refused))
            case TourStep.RECOVERY:
                self._endpoint.answer = _accept
                await self._operate("$retry")
                await self._wait(lambda: len(self._endpoint.numbers) > 1)
            case TourStep.REPLAY:
                await self._operate("$resend", eventsSinceNumber="1", eventsUntilNumber="1")
                await self._wait(lambda: self._endpoint.duplicates > 0)
            case TourStep.END:
                await self._start_again()
            case _:
                text = "This step has nothing to do. Go on to the next."
                raise Unprocessable(Issue("business-rule", text))

    @property
    def _parts(self) -> _Set:
        if self._set is None:
            raise Unprocessable(Issue("transient", "The demo is still starting. Try again in a moment."))
        return self._set

    @property
    def _endpoint(self) -> Endpoint:
        return self._parts.subscriber.endpoint(TOUR)

    @property
    def _refused(self) -> list[int]:
        """The event numbers of each notification that the broken endpoint refused."""
        return [
            request.notification.events[0].number
            for request in self._endpoint.received
            if request.answered == _BUSY.status and request.notification and request.notification.events
        ]

    def _document(self) -> dict[str, Any]:
        return subscription(
            "r5",
            TOPIC,
            self._parts.subscriber.url(TOUR),
            content="full-resource",
            filters=[f"patient={PATIENT}"],
        )

    async def _topic(self) -> str:
        found = await self._request("GET", f"SubscriptionTopic?url={TOPIC}")
        return _text(found["entry"][0]["resource"]) if found.get("entry") else ""

    async def _subscribed(self) -> TourFacts:
        if not self.subscription_id:
            return TourFacts(False, True, [], _text(self._document()))
        stored = await self._request("GET", f"Subscription/{self.subscription_id}")
        facts = [("Subscription", self.subscription_id), ("status", str(stored["status"]))]
        return TourFacts(True, True, facts, _text(stored))

    def _handshake(self) -> TourFacts:
        shaken = self._received("handshake")
        facts = [("answer of the endpoint", "200"), ("status now", "active")] if shaken else []
        return TourFacts(bool(shaken), bool(self.subscription_id), facts, shaken)

    def _event(self) -> TourFacts:
        facts = []
        if self._endpoint.numbers:
            facts = [
                ("event number", "1"),
                ("from acceptance to the endpoint", f"{self._endpoint.latencies_ms[0]:.0f} ms"),
            ]
        notification = self._received("event-notification") if facts else ""
        return TourFacts(bool(facts), bool(self._received("handshake")), facts, notification)

    async def _failure(self) -> TourFacts:
        is_open = bool(self._endpoint.numbers)
        if not self._refused:
            return TourFacts(False, is_open)
        report = _values(await self._operate("$delivery", method="GET"))
        facts = [
            ("answers 503 so far", str(len(self._refused))),
            ("status of the Subscription", str(report["status"])),
            ("events that wait", str(report["waiting"])),
            ("next attempt", str(report.get("next-attempt", "–"))),
        ]
        return TourFacts(True, is_open, facts)

    def _recovery(self) -> TourFacts:
        is_done = len(self._endpoint.numbers) > 1
        facts = []
        if is_done:
            numbers = ", ".join(map(str, self._endpoint.numbers))
            facts = [("events received, in order", numbers), ("events lost", "0")]
        return TourFacts(is_done, bool(self._refused), facts)

    def _replay(self) -> TourFacts:
        facts = (
            [("repetitions received", str(self._endpoint.duplicates))] if self._endpoint.duplicates else []
        )
        return TourFacts(bool(facts), len(self._endpoint.numbers) > 1, facts)

    def _summary(self) -> list[tuple[str, str]]:
        return [
            ("readings sent", str(self._readings)),
            ("events received", str(len(self._endpoint.numbers))),
            ("refused by the endpoint, and sent again", str(len(self._refused))),
            ("repetitions that were asked for", str(self._endpoint.duplicates)),
        ]

    async def _subscribe(self) -> None:
        if self.subscription_id:
            return
        registered = await self._request("POST", "Subscription", json=self._document())
        self.subscription_id = str(registered["id"])
        await self._wait(lambda: bool(self._received("handshake")))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EFFECT_S):
                # until the broker has noted the answer
                while await self._status() == "requested":  # noqa: ASYNC110 it answers over HTTP
                    await asyncio.sleep(_POLL_S)

    async def _status(self) -> str:
        return str((await self._request("GET", f"Subscription/{self.subscription_id}"))["status"])

    async def _send_reading(self) -> None:
        value = _HEART_RATES[self._readings % len(_HEART_RATES)]
        self._readings += 1
        refused = len(self._parts.gateway.refused)
        if not await self._parts.gateway.send(_heart_rate(value)):
            text = f"The broker did not accept the reading: {self._parts.gateway.refused[refused][1]}"
            raise Unprocessable(Issue("processing", text))

    async def _start_again(self) -> None:
        if self.subscription_id:
            await self._request("DELETE", f"Subscription/{self.subscription_id}")
        self._endpoint.forget()
        self.subscription_id, self._readings = "", 0

    async def _operate(self, name: str, method: str = "POST", **inputs: str) -> dict[str, Any]:
        body = None
        if method == "POST":
            parameter = [{"name": key, "valueInteger64": value} for key, value in inputs.items()]
            body = {"resourceType": "Parameters"} | ({"parameter": parameter} if parameter else {})
        return await self._request(method, f"Subscription/{self.subscription_id}/{name}", json=body)

    async def _request(self, method: str, path: str, json: Any = None) -> dict[str, Any]:
        """The JSON of the answer. Raises `Unprocessable` with what the broker says of a refused one."""
        try:
            answer = await self._parts.client.request(method, f"{self._parts.base}/{path}", json=json)
            body: dict[str, Any] = answer.json() if answer.content else {}
        except (httpx.TransportError, ValueError) as error:
            raise Unprocessable(Issue("transient", f"The broker does not answer: {error}")) from error
        if not answer.is_success:
            reasons = "; ".join(str(issue.get("diagnostics")) for issue in body.get("issue", ()))
            raise Unprocessable(Issue("processing", f"The broker refused the step: {reasons}"))
        return body

    async def _wait(self, holds: Callable[[], bool]) -> None:
        """For what the page shows next; a page that comes too early says so."""
        await self._parts.subscriber.wait_until(holds, _EFFECT_S)

    def _received(self, notification_type: str) -> str:
        """The first notification of a type that the endpoint accepted, as text."""
        for request in self._endpoint.received:
            if request.notification is not None and request.notification.type == notification_type:
                return _text(json.loads(request.body))
        return ""


async def _accept(_request: bytes) -> Answer:
    return Answer()


async def _refuse(_request: bytes) -> Answer:
    return _BUSY


def _heart_rate(value: int) -> Mapping[str, Any]:
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    unit = {"unit": "beats/minute", "system": "http://unitsofmeasure.org", "code": "/min"}
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": category, "code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
        "subject": {"reference": PATIENT},
        "effectiveDateTime": to_instant(SystemClock().now_ms()),
        "valueQuantity": {"value": value} | unit,
    }


def _values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of Parameters by name."""
    return {
        part["name"]: next(value for key, value in part.items() if key.startswith("value"))
        for part in parameters.get("parameter", ())
        if any(key.startswith("value") for key in part)
    }


def _text(resource: Mapping[str, Any]) -> str:
    return json.dumps(resource, indent=2, ensure_ascii=False)
