"""PATCH of Subscriptions and topics."""

import json

import httpx

from broker.testing.registration import subscription
from tests.integration.patch_client import fhirpath_patch, json_patch, op
from tests.unit.ingest.fhirpath_patches import operation

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/nowhere"


async def test_a_subscription_is_patched_and_keeps_the_release_of_its_notifications(
    client: httpx.AsyncClient,
) -> None:
    for base, other in (("r4", "r5"), ("r5", "r4b"), ("r4b", "r4")):
        document = subscription(base, VITALS, NOWHERE) | {"id": f"patched-{base}", "status": "off"}
        created = await client.put(
            f"/{base}/Subscription/patched-{base}", content=json.dumps(document).encode()
        )
        assert created.status_code == 201, created.text
        url = f"/{base}/Subscription/patched-{base}"
        etag = created.headers["etag"]
        response = await fhirpath_patch(
            client,
            url,
            operation("add", "Subscription", name="end", value={"valueInstant": "2999-01-01T00:00:00Z"}),
            If_Match=etag,
        )
        assert response.status_code == 200, response.text
        assert response.json()["end"].startswith("2999-01-01")
        assert (await json_patch(client, url, op("remove", "/end"), If_Match=etag)).status_code == 412
        response = await json_patch(
            client,
            f"/{other}/Subscription/patched-{base}",
            op("replace", "/end", value="2998-01-01T00:00:00Z"),
        )
        assert response.status_code == 200, response.text
        assert response.json()["end"].startswith("2998-01-01")
        read = (await client.get(url)).json()
        assert read["end"].startswith("2998-01-01")
        notified = (await client.get(f"{url}/$status")).json()
        assert notified["entry"]
        topic = read.get("topic") or read["criteria"]
        assert topic == VITALS
        refused = await json_patch(client, url, op("add", "/colour", value="red"))
        assert refused.status_code == 422
        absent = await json_patch(client, f"/{base}/Subscription/never", op("remove", "/end"))
        assert absent.status_code == 404
    by_criteria = "/r5/Subscription?_id=patched-r5"
    response = await json_patch(client, by_criteria, op("add", "/reason", value="Because"))
    assert (response.status_code, response.json().get("reason")) == (200, "Because"), response.text
    assert (await json_patch(client, "/r5/Subscription?_id=never", op("remove", "/end"))).status_code == 404
    assert (await json_patch(client, "/r5/Subscription?status=off", op("remove", "/end"))).status_code == 412


async def test_a_stored_topic_is_patched_and_one_of_the_folder_is_not(client: httpx.AsyncClient) -> None:
    topic = {
        "resourceType": "SubscriptionTopic",
        "id": "patched-topic",
        "url": "http://example.org/topics/patched",
        "version": "1",
        "title": "Before",
        "status": "active",
        "resourceTrigger": [{"resource": "http://hl7.org/fhir/StructureDefinition/Patient"}],
    }
    created = await client.put("/r5/SubscriptionTopic/patched-topic", content=json.dumps(topic).encode())
    assert created.status_code == 201, created.text
    url = "SubscriptionTopic/patched-topic"
    change = operation("replace", "SubscriptionTopic.title", value={"valueString": "After"})
    response = await fhirpath_patch(client, f"/r5/{url}", change, If_Match=created.headers["etag"])
    assert (response.status_code, response.json()["title"]) == (200, "After"), response.text
    assert (await fhirpath_patch(client, f"/r5/{url}", change, If_Match='W/"1"')).status_code == 412
    response = await json_patch(client, f"/r4b/{url}", op("replace", "/title", value="Later"))
    assert (response.status_code, response.json()["title"]) == (200, "Later"), response.text
    basic = (await client.get("/r4/Basic/patched-topic")).json()
    index = next(n for n, each in enumerate(basic["extension"]) if each["url"].endswith(".title"))
    response = await json_patch(
        client, "/r4/Basic/patched-topic", op("replace", f"/extension/{index}/valueString", value="Basic")
    )
    assert response.status_code == 200, response.text
    assert (await client.get(f"/r5/{url}")).json()["title"] == "Basic"
    assert (await json_patch(client, f"/r5/{url}", op("remove", "/url"))).status_code == 422
    assert (
        await json_patch(client, "/r5/SubscriptionTopic/never", op("remove", "/title"))
    ).status_code == 404
    folder = await json_patch(client, "/r5/SubscriptionTopic/vital-signs", op("remove", "/title"))
    assert folder.status_code == 409
    assert (
        await json_patch(client, "/r5/SubscriptionTopic?url=x", op("remove", "/title"))
    ).status_code == 405
