"""Collects what the broker answers to requests that ask for an explanation, wish something, or are wrong."""

import json

from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from tests.validation.broker_process import EVERYTHING
from tests.validation.collector import FHIR_JSON, NOW, RELEASES, Collector


class AnswerSteps(Collector):
    """Needs the subscriptions `<release>-filtered` and the Observations `kept-<release>`."""

    async def preferences(self) -> None:
        """What writes answer to each `Prefer: return`; `minimal` is no document."""
        for release in RELEASES:
            for wish in ("minimal", "representation", "OperationOutcome"):
                prefer = {"Prefer": f"return={wish}"}
                written = observation(HEART_RATE, "ana", NOW, 68)
                name = f"kept-{wish.lower()}"
                draft = subscription(release, EVERYTHING, self.subscriber.url(f"{release}-{wish}"))
                for kind, method, path, body in (
                    ("create", "POST", "Observation", written),
                    ("update", "PUT", f"Observation/{name}", written | {"id": name}),
                    ("register", "POST", "Subscription", draft),
                    ("delete", "DELETE", f"Observation/{name}", None),
                ):
                    answer = await self.send(method, f"/{release}/{path}", body, **prefer)
                    if answer.content:
                        self.documents.add(release, f"{kind}-{wish}", answer.content)

    async def patches_and_validations(self) -> None:
        """A patch of each kind, and `$validate` of a resource that is valid and one that is not."""
        path_patch = {
            "resourceType": "Parameters",
            "parameter": [
                {
                    "name": "operation",
                    "part": [
                        {"name": "type", "valueCode": "replace"},
                        {"name": "path", "valueString": "Observation.status"},
                        {"name": "value", "valueCode": "amended"},
                    ],
                }
            ],
        }
        json_patch = [{"op": "replace", "path": "/status", "value": "corrected"}]
        valid = observation(HEART_RATE, "ana", NOW, 69)
        for release in RELEASES:
            url = f"/{release}/Observation/kept-{release}"
            for name, method, path, body, media_type in (
                ("patch-fhirpath", "PATCH", url, path_patch, FHIR_JSON),
                ("patch-json", "PATCH", url, json_patch, "application/json-patch+json"),
                ("patch-refused", "PATCH", url, [{"op": "test", "path": "/status", "value": "x"}], FHIR_JSON),
                ("validate", "POST", f"/{release}/Observation/$validate", valid, FHIR_JSON),
                ("validate-wrong", "POST", f"/{release}/Observation/$validate", valid | {"x": 1}, FHIR_JSON),
            ):
                answer = await self.client.request(
                    method, path, content=json.dumps(body), headers={"Content-Type": media_type}
                )
                assert answer.status_code < 500, f"{method} {path}: {answer.status_code}"
                if answer.content:
                    self.documents.add(release, name, answer.content)

    async def explanations(self) -> None:
        for release in RELEASES:
            id_ = self.ids[f"{release}-filtered"]
            question = {
                "resourceType": "Parameters",
                "parameter": [{"name": "resource", "resource": observation(HEART_RATE, "bob", NOW, 70)}],
            }
            answer = await self.send("POST", f"/{release}/Subscription/{id_}/$explain", question)
            self.documents.add(release, "explain", answer.content)
            draft = subscription(
                release, EVERYTHING, self.subscriber.url("draft"), filters=["patient=Patient/ana"]
            )
            question = {
                "resourceType": "Parameters",
                "parameter": [{"name": "subscription", "resource": draft}],
            }
            answer = await self.send("POST", f"/{release}/Subscription/$dry-run", question)
            self.documents.add(release, "dry-run", answer.content)
            path = "Basic" if release == "r4" else "SubscriptionTopic"
            topic = (await self.client.get(f"/{release}/{path}?_count=1")).json()["entry"][0]["resource"]
            question = {"resourceType": "Parameters", "parameter": [{"name": "topic", "resource": topic}]}
            answer = await self.send("POST", f"/{release}/{path}/$try", question)
            self.documents.add(release, "try", answer.content)

    async def outcomes(self) -> None:
        for release in RELEASES:
            for name, method, path, body in (
                ("absent", "GET", "Observation/absent", None),
                ("unknown-type", "GET", "Nonsense/1", None),
                ("no-json", "POST", "Observation", "{"),
                (
                    "invalid",
                    "POST",
                    "Observation",
                    '{"resourceType":"Observation","status":"final","extra":1}',
                ),
                ("no-topic", "POST", "Subscription", '{"resourceType":"Subscription","status":"requested"}'),
                ("method", "PUT", "metadata", "{}"),
                ("unknown-parameter", "GET", "Subscription?nonsense=1", None),
            ):
                response = await self.client.request(
                    method,
                    f"/{release}/{path}",
                    content=body,
                    headers={"Content-Type": FHIR_JSON, "Prefer": "handling=strict"},
                )
                assert response.status_code >= 400, f"{release} {name}: {response.status_code}"
                self.documents.add(release, f"outcome-{name}", response.content)

    async def audit_events(self) -> None:
        """A search of the audit trail, and one AuditEvent of each act that the steps before left."""
        for release in RELEASES:
            page = await self.client.get(f"/{release}/AuditEvent?_count=50")
            assert page.status_code == 200, page.text
            self.documents.add(release, "audit-search", page.content)
            export = await self.client.get(f"/{release}/AuditEvent/$export-trail")
            seen: set[str] = set()
            for line in export.text.splitlines():
                event = json.loads(line)
                codings = event["code"]["coding"] if release == "r5" else event["subtype"]
                act = f"audit-{codings[0]['code']}-{'entities' if 'entity' in event else 'alone'}"
                if act not in seen:
                    seen.add(act)
                    self.documents.add(release, act, line.encode())
