"""Preconditions and conditional requests over HTTP: each is honoured or refused, never ignored."""

import asyncio
from typing import Any

import httpx
import pytest

from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.integration.conditional_client import patient, reading, send, status

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/nowhere"


def bodies() -> list[tuple[str, dict[str, Any]]]:
    """A resource, a Subscription and a topic, each with the URL of an update."""
    topic = {
        "resourceType": "SubscriptionTopic",
        "id": "flags",
        "url": "http://example.org/topics/flags",
        "status": "active",
        "resourceTrigger": [{"resource": "Flag"}],
    }
    registered = subscription("r5", VITALS, NOWHERE) | {"id": "s"}
    return [
        ("/r5/Patient/p", patient(id="p")),
        ("/r5/Subscription/s", registered),
        ("/r5/SubscriptionTopic/flags", topic),
    ]


@pytest.mark.parametrize(("url", "body"), bodies())
async def test_version_conditions_hold_for_every_type(
    client: httpx.AsyncClient, url: str, body: dict[str, Any]
) -> None:
    assert await status(client, "PUT", url, body, If_Match="*") == 412
    assert await status(client, "PUT", url, body, If_None_Match="*") == 201
    assert await status(client, "PUT", url, body, If_None_Match="*") == 412
    assert await status(client, "PUT", url, body, If_Match="*") == 200
    current = int((await send(client, "PUT", url, body)).headers["ETag"].strip('W/"'))
    assert await status(client, "PUT", url, body, If_Match=f'W/"{current + 40}", "{current + 50}"') == 412
    assert await status(client, "PUT", url, body, If_Match='"x') == 400
    assert await status(client, "DELETE", url, If_None_Match="*") == 412
    assert await status(client, "DELETE", url, If_Match=f'W/"{current + 40}"') == 412
    assert await status(client, "DELETE", url, If_Match="*") == 204
    assert await status(client, "DELETE", url, If_Match="*") == 412


@pytest.mark.parametrize(("url", "body"), bodies())
async def test_an_update_without_the_id_of_its_url_is_malformed(
    client: httpx.AsyncClient, url: str, body: dict[str, Any]
) -> None:
    without = {name: value for name, value in body.items() if name != "id"}
    assert await status(client, "PUT", url, without) == 400
    assert await status(client, "PUT", url, body | {"id": "other"}) == 400


async def test_a_precondition_that_a_row_does_not_honour_is_refused(client: httpx.AsyncClient) -> None:
    await send(client, "PUT", "/r4/Patient/p", patient(id="p"))
    batch = {"resourceType": "Bundle", "type": "batch"}
    for method, url, body, headers in (
        ("POST", "/r4/Patient", patient(), {"If_Match": "*"}),
        ("POST", "/r4/Patient", patient(), {"If_None_Match": "*"}),
        ("PUT", "/r4/Patient/p", patient(id="p"), {"If_None_Exist": "identifier=urn:m|1"}),
        ("PUT", "/r4/Patient/p", patient(id="p"), {"If_Unmodified_Since": "Sat, 01 Jan 2000 00:00:00 GMT"}),
        ("DELETE", "/r4/Patient/p", None, {"If_None_Exist": "identifier=urn:m|1"}),
        ("POST", "/r4", batch, {"If_Match": "*"}),
        ("POST", "/r4/Subscription/$status", None, {"If_None_Exist": "url=x"}),
    ):
        assert await status(client, method, url, body, **headers) == 422, (method, url, headers)
    assert (await client.get("/r4/Patient/p")).headers["ETag"] == 'W/"1"'


async def test_parameters_of_writes_are_refused_by_name_unless_handling_is_lenient(
    client: httpx.AsyncClient,
) -> None:
    body = patient(id="p")
    assert await status(client, "PUT", "/r4/Patient/p?_format=json&_pretty=true", body) == 201
    assert await status(client, "POST", "/r4/Patient?_format=json", patient()) == 201
    refused = await send(client, "PUT", "/r4/Patient/p?colour=red", body)
    assert refused.status_code == 400
    assert "'colour'" in refused.text
    assert await status(client, "DELETE", "/r4/Patient/p?_cascade=delete") == 400
    assert await status(client, "POST", "/r4/Patient?colour=red", patient()) == 422
    lenient = "handling=lenient"
    assert await status(client, "PUT", "/r4/Patient/p?colour=red", body, Prefer=lenient) == 200
    assert await status(client, "PUT", "/r4/Patient/p?birthdate=2000", body, Prefer=lenient) == 400
    assert await status(client, "POST", "/r4/Patient?colour=red", patient(), Prefer=lenient) == 201
    assert await status(client, "POST", "/r4/Patient?name=x", patient(), Prefer=lenient) == 422


async def test_a_conditional_create_finds_the_resource_in_every_form_of_criteria(
    client: httpx.AsyncClient,
) -> None:
    first = await send(client, "POST", "/r4/Patient", patient("1"), If_None_Exist="identifier=urn:m|1")
    assert first.status_code == 201
    for criteria in (
        "identifier=1",
        "?identifier=urn:m|1",
        "Patient?identifier=urn:x|7,urn:m|1",
        f"{str(client.base_url).rstrip('/')}/r4/Patient?_format=json&identifier=urn%3Am%7C1",
        f"_id={first.json()['id']}",
    ):
        again = await send(client, "POST", "/r4/Patient", patient("1"), If_None_Exist=criteria)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"]), criteria
    in_url = await send(client, "POST", "/r4/Patient?identifier=urn:m|1", patient("1"))
    assert (in_url.status_code, in_url.json()["id"]) == (200, first.json()["id"])
    assert await status(client, "POST", "/r4/Patient", patient("1"), If_None_Exist="identifier=|1") == 201


async def test_a_condition_that_matches_no_longer_creates_another_resource(client: httpx.AsyncClient) -> None:
    criteria = {"If_None_Exist": "identifier=urn:m|1"}
    first = (await send(client, "POST", "/r4/Patient", patient("1"), **criteria)).json()["id"]
    await send(client, "PUT", f"/r4/Patient/{first}", patient("2", id=first))
    second = await send(client, "POST", "/r4/Patient", patient("1"), **criteria)
    assert second.status_code == 201
    assert second.json()["id"] != first


async def test_a_conditional_update_creates_then_updates_and_refuses_several(
    client: httpx.AsyncClient,
) -> None:
    url = "/r4/Patient?identifier=urn:m|1"
    created = await send(client, "PUT", url, patient("1"))
    updated = await send(client, "PUT", url, patient("1", active=True))
    assert (created.status_code, updated.status_code) == (201, 200)
    patient_id = created.json()["id"]
    assert (updated.json()["id"], updated.headers["ETag"]) == (patient_id, 'W/"2"')
    assert await status(client, "PUT", url, patient("1", id=patient_id)) == 200
    assert await status(client, "PUT", url, patient("1", id="other")) == 400
    assert await status(client, "PUT", url, patient("1"), If_Match='W/"1"') == 412
    assert await status(client, "PUT", url, patient("1"), If_None_Match="*") == 412
    assert await status(client, "PUT", url, patient("1"), If_Match='W/"3"') == 200
    chosen = await send(client, "PUT", "/r4/Patient?identifier=urn:m|2", patient("2", id="mine"))
    assert (chosen.status_code, chosen.json()["id"]) == (201, "mine")
    taken = await send(client, "PUT", "/r4/Patient?identifier=urn:m|3", patient("3", id="mine"))
    assert taken.status_code == 409
    await send(client, "POST", "/r4/Patient", patient("1"))
    assert await status(client, "PUT", url, patient("1")) == 412
    assert await status(client, "PUT", "/r4/Patient?name=x", patient("1")) == 422


async def test_a_conditional_delete_deletes_a_single_match(client: httpx.AsyncClient) -> None:
    await send(client, "PUT", "/r4/Patient/a", patient("1", id="a"))
    await send(client, "PUT", "/r4/Patient/b", patient("1", id="b"))
    assert await status(client, "DELETE", "/r4/Patient?identifier=urn:m|1") == 412
    assert await status(client, "DELETE", "/r4/Patient?identifier=urn:m|1&_id=a", If_Match='W/"7"') == 412
    assert await status(client, "DELETE", "/r4/Patient?identifier=urn:m|1&_id=a") == 204
    assert await status(client, "GET", "/r4/Patient/a") == 410
    assert await status(client, "DELETE", "/r4/Patient?identifier=urn:m|1") == 204
    assert await status(client, "DELETE", "/r4/Patient?identifier=urn:m|1") == 204, "nothing matches"
    assert await status(client, "DELETE", "/r4/Patient?_format=json") == 405


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_a_subscription_may_be_registered_updated_and_deleted_by_criteria(
    client: httpx.AsyncClient, release: str
) -> None:
    body, url = subscription(release, VITALS, NOWHERE), f"/{release}/Subscription"
    criteria = f"url={NOWHERE}"
    first = await send(client, "POST", url, body, If_None_Exist=criteria)
    again = await send(client, "POST", url, body, If_None_Exist=criteria)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert await status(client, "POST", url, body, If_None_Exist="colour=red") == 400
    updated = await send(client, "PUT", f"{url}?{criteria}", body)
    assert (updated.status_code, updated.json()["id"]) == (200, first.json()["id"])
    await send(client, "POST", url, body)
    assert await status(client, "PUT", f"{url}?{criteria}", body) == 412
    assert await status(client, "DELETE", f"{url}?{criteria}") == 412
    assert await status(client, "DELETE", f"{url}?{criteria}&_id={first.json()['id']}") == 204
    assert (await client.get(url)).json()["total"] == 1


async def test_a_topic_is_created_once_under_its_criteria(client: httpx.AsyncClient) -> None:
    body = {name: value for name, value in bodies()[2][1].items() if name != "id"}
    criteria = {"If_None_Exist": f"url={body['url']}"}
    first = await send(client, "POST", "/r5/SubscriptionTopic", body, **criteria)
    again = await send(client, "POST", "/r5/SubscriptionTopic", body, **criteria)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert await status(client, "POST", "/r5/SubscriptionTopic", body, If_None_Exist="colour=red") == 400
    assert await status(client, "PUT", "/r5/SubscriptionTopic?url=x", body) == 405


async def test_reads_are_answered_by_304_for_any_tag_or_date_that_holds(client: httpx.AsyncClient) -> None:
    stored = await send(client, "PUT", "/r4/Patient/p", patient(id="p"))
    modified = stored.headers["Last-Modified"]
    for headers, expected in (
        ({"If_None_Match": '"1"'}, 304),
        ({"If_None_Match": 'W/"7", W/"1"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": 'W/"7"'}, 200),
        ({"If_None_Match": 'W/"7"', "If_Modified_Since": modified}, 200),
        ({"If_Modified_Since": modified}, 304),
        ({"If_Modified_Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_None_Match": '"'}, 400),
    ):
        assert await status(client, "GET", "/r4/Patient/p", **headers) == expected, headers


async def test_concurrent_conditional_requests_to_two_brokers_make_one_resource(
    start_broker: StartBroker,
) -> None:
    """The law: whatever the form of the criteria, the patient and the process, one of them creates."""
    forms = ("identifier=urn:m|{}", "Observation?identifier={}", "identifier=urn:x|9,urn:m|{}")

    def observation(value: str, n: int) -> dict[str, Any]:
        identifier = [{"system": "urn:m", "value": value}]
        return reading(f"Patient/{n}", "Patient/p") | {"identifier": identifier}

    async with (
        start_broker() as first,
        start_broker(base_url=first.settings.base_url) as second,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        bases = [f"http://127.0.0.1:{broker.settings.port}/r4" for broker in (first, second)]
        for value in ("1", "2", "3"):
            answers = await asyncio.gather(
                *(
                    send(
                        client,
                        "POST",
                        f"{bases[n % 2]}/Observation",
                        observation(value, n),
                        If_None_Exist=forms[n % 3].format(value),
                    )
                    for n in range(12)
                ),
                *(
                    send(
                        client,
                        "PUT",
                        f"{bases[n % 2]}/Observation?identifier=urn:m|{value}",
                        observation(value, n),
                    )
                    for n in range(4)
                ),
            )
            statuses = sorted(answer.status_code for answer in answers if answer.status_code != 409)
            assert statuses.count(201) == 1, statuses
            assert set(statuses) <= {200, 201}
            ids = {answer.json()["id"] for answer in answers if answer.status_code != 409}
            assert len(ids) == 1
        registrations = await asyncio.gather(
            *(
                send(
                    client,
                    "POST",
                    f"{bases[n % 2]}/Subscription",
                    subscription("r4", VITALS, NOWHERE),
                    If_None_Exist=f"url={NOWHERE}",
                )
                for n in range(6)
            )
        )
        assert sorted(answer.status_code for answer in registrations) == [200] * 5 + [201]
