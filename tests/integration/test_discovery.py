"""What a base says of itself is what it does: metadata and OperationDefinitions walked, and wrong methods and
types refused.
"""

import itertools
from typing import Any

import httpx
import orjson
import pytest

from broker.api.smart_configuration import PATH
from broker.model.release import Release
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from tests.fhir.rows import read_back
from tests.integration.interaction_rows import ROWS, concrete, methods_of

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/"
CORE = "http://hl7.org/fhir/OperationDefinition/Subscription-"
SHORT = {"r4": "4.0", "r4b": "4.3", "r5": "5.0"}
FORM = "application/x-www-form-urlencoded"
READING = observation(HEART_RATE, "p1", "2026-01-01T00:00:00Z", 70)
Resource = dict[str, Any]


async def statement_of(client: httpx.AsyncClient, release: str) -> Resource:
    response = await client.get(f"/{release}/metadata")
    assert response.status_code == 200
    read_back(Release(release), response.content)
    results: Resource = response.json()
    return results


def types_of(statement: Resource) -> dict[str, Resource]:
    return {item["type"]: item for item in statement["rest"][0]["resource"]}


async def register(client: httpx.AsyncClient, release: str, **more: Any) -> str:
    document = subscription(release, VITALS, NOWHERE) | {"status": "off"} | more
    response = await client.post(f"/{release}/Subscription", content=orjson.dumps(document))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.mark.parametrize("release", Release)
async def test_r_380_to_r_391_the_capability_statement_is_complete(
    client: httpx.AsyncClient, release: Release
) -> None:
    statement = await statement_of(client, release)
    rest = statement["rest"][0]
    about = types_of(statement)["Subscription"]
    assert "application/fhir+json" in statement["format"]
    assert "authentication" in rest["security"]["description"]
    at_system = {item["code"] for item in rest["interaction"]}
    assert at_system == {"batch", "transaction", "history-system"}
    assert any(item.get("valueUri", "").endswith("/ws") for item in rest["extension"])
    for channel in ("rest-hook", "websocket", "message", "server-sent-events"):
        assert channel in about["documentation"]
    guides = [f"{GUIDE}ImplementationGuide/hl7.fhir.uv.subscriptions-backport"]
    assert statement.get("implementationGuide", []) == ([] if release is Release.R5 else guides)
    assert "Observation:subject" in types_of(statement)["Observation"]["searchInclude"]
    assert not any("searchRevInclude" in item for item in rest["resource"])
    topics = [item["valueCanonical"] for item in about.get("extension", [])]
    if release is not Release.R5:
        assert {VITALS, f"{VITALS}|1.0.0"} <= set(topics), "R-385: as a client registers it"
        assert len(topics) == len(set(topics))
    operations = {item["name"]: item["definition"] for item in about["operation"]}
    assert operations["stream"].endswith(f"/{release}/OperationDefinition/stream")
    assert {"status", "events", "get-ws-binding-token", "resend"} <= set(operations), "R-386: without $"
    assert ("SubscriptionTopic" in types_of(statement)) is (release is not Release.R4)


@pytest.mark.parametrize("release", Release)
async def test_each_interaction_in_the_statement_works(client: httpx.AsyncClient, release: Release) -> None:
    """Of the broker's own types and every sixth of those of producers: what is offered answers for the
    resource, not that there is no such thing; what isn't is 405.
    """
    wrong: dict[str, int] = {}
    for number, (kind, about) in enumerate(types_of(await statement_of(client, release)).items()):
        offered = {item["code"] for item in about["interaction"]}
        if "history-type" in offered and number % 6:
            continue
        # refused for its type, by whoever takes creates and updates of the one in the URL
        body = b'{"resourceType":"Unheard","id":"none"}'
        for code, method, path in (
            ("create", "POST", kind),
            ("read", "GET", f"{kind}/none"),
            ("vread", "GET", f"{kind}/none/_history/1"),
            ("history-instance", "GET", f"{kind}/none/_history"),
            ("history-type", "GET", f"{kind}/_history"),
            ("update", "PUT", f"{kind}/none"),
            ("delete", "DELETE", f"{kind}/none"),
            ("search-type", "GET", kind),
        ):
            response = await client.request(
                method, f"/{release}/{path}", content=body if method in {"POST", "PUT"} else None
            )
            expected = {
                "create": {422},
                "read": {404},
                "vread": {404},
                "history-instance": {404},
                "history-type": {200},
                "update": {422},
                "delete": {404, 204},
                "search-type": {200},
            }[code]
            if code == "vread" and kind in {"Subscription", "SubscriptionTopic"}:
                expected = {404}  # only the current version can be read so: less than the code means
            elif code not in offered:
                expected = {404, 405}
            if response.status_code not in expected:
                wrong[f"{code} {kind}"] = response.status_code
    assert wrong == {}


@pytest.mark.parametrize("release", Release)
async def test_the_interactions_offered_for_ordinary_types_run_from_create_to_delete(
    client: httpx.AsyncClient, release: Release
) -> None:
    for body in (
        READING,
        {"resourceType": "Patient", "active": True},
        {"resourceType": "Basic", "code": {"text": "note"}},
    ):
        kind = body["resourceType"]
        created = await client.post(f"/{release}/{kind}", content=orjson.dumps(body))
        assert created.status_code == 201, created.text
        url = f"/{release}/{kind}/{created.json()['id']}"
        updated = await client.put(
            url, content=orjson.dumps({**body, "id": created.json()["id"]}), headers={"If-Match": 'W/"1"'}
        )
        assert updated.status_code == 200
        assert (await client.get(f"{url}/_history/1")).json()["meta"]["versionId"] == "1"
        again = await client.get(url, headers={"If-None-Match": updated.headers["ETag"]})
        assert again.status_code == 304
        assert (
            await client.put(url, content=updated.content, headers={"If-Match": 'W/"1"'})
        ).status_code == 412
        assert (await client.delete(url)).status_code == 204
        assert (await client.get(url)).status_code == 410


@pytest.mark.parametrize("release", Release)
async def test_each_search_parameter_in_the_statement_is_searched_by(
    client: httpx.AsyncClient, release: Release
) -> None:
    """Of the broker's own types, and of one that stands for those of producers."""
    await register(client, release)
    values = {"token": "x", "string": "x", "uri": "http://x", "date": "2020", "reference": "x"}
    values |= {"quantity": "5", "number": "5"}
    types = types_of(await statement_of(client, release))
    for kind in ("AuditEvent", "OperationDefinition", "Observation", "Subscription", "SubscriptionTopic"):
        for parameter in types.get(kind, {}).get("searchParam", []):
            name = parameter["name"]
            if kind != "Observation" or "definition" in parameter:
                definition = parameter["definition"].rpartition("/SearchParameter/")[2]
                assert definition.partition("-")[2] == name.removeprefix("_"), parameter
            queries = [f"{name}:missing=true"]
            if kind != "Observation" or parameter["type"] != "reference":  # each has targets of its own
                queries.append(f"{name}={values.get(parameter['type'], '')}")
            for query in queries if parameter["type"] != "composite" else ():
                response = await client.get(f"/{release}/{kind}?{query}")
                assert response.status_code == 200, f"{kind}?{query}"
                read_back(release, response.content)


@pytest.mark.parametrize("release", Release)
async def test_each_operation_in_the_statement_has_a_definition_and_answers(
    client: httpx.AsyncClient, release: Release
) -> None:
    subscription_id = await register(client, release)
    device = {"resourceType": "Device", "id": subscription_id}  # an id for the operations of both types
    assert (await client.put(f"/{release}/Device/{subscription_id}", json=device)).status_code == 201
    statement = await statement_of(client, release)
    for kind, about in {"": statement["rest"][0], **types_of(statement)}.items():
        for operation in about.get("operation", []):
            if operation["name"] == "validate" and kind != "Observation":
                continue  # every type has it
            read = await client.get(f"/{release}/OperationDefinition/{operation['name']}")
            assert read.status_code == 200, operation
            read_back(release, read.content)
            definition = read.json()
            assert (definition["url"], definition["code"]) == (operation["definition"], operation["name"])
            assert definition.get("resource", [""]) in ([kind], ["Resource"])
            results = await client.get(
                f"/{release}/OperationDefinition",
                params={"url": definition["url"], "code": definition["code"]},
            )
            assert [entry["resource"] for entry in results.json()["entry"]] == [definition]
            paths = [f"${definition['code']}"] if definition["system"] else []
            if definition["type"]:
                paths.append(f"{kind}/${definition['code']}")
            if definition["instance"]:
                paths.append(f"{kind}/{subscription_id}/${definition['code']}")
            assert paths
            for path in paths:
                methods = methods_of(path.replace(subscription_id, "none"))
                if definition["code"] == "stream":  # an EventSource sends GET
                    assert methods == {"GET"}
                    continue
                assert "POST" in methods, path
                assert ("GET" in methods) <= (not definition["affectsState"] or "token" in path), path
                response = await client.post(f"/{release}/{path}")
                assert response.status_code not in {404, 405, 500} or "websocket" in response.text, path
                if release is not Release.R5 and definition["code"] == "status":
                    assert definition["url"].startswith(f"{GUIDE}OperationDefinition/backport-subscription-")
                elif definition["code"] == "status":
                    assert definition["url"] == f"{CORE}status"


def test_each_operation_of_the_table_has_a_definition() -> None:
    from broker.fhir.operation_definitions import OPERATIONS  # noqa: PLC0415 beside the one use

    served = {item.path.rpartition("$")[2] for item in ROWS if "$" in item.path}
    assert served == {item.code for item in OPERATIONS}


async def test_operation_definitions_are_found_by_name_and_code(client: httpx.AsyncClient) -> None:
    for query, expected in (
        ("code=status", {"status"}),
        ("name=statusof", {"status"}),
        ("url=http://hl7.org/fhir/OperationDefinition/Subscription-events", {"events"}),
        ("instance=true&type=true&status=active", {"status", "get-ws-binding-token", "validate"}),
        ("kind=query", set()),
    ):
        bundle = (await client.get(f"/r5/OperationDefinition?{query}")).json()
        assert {item["resource"]["id"] for item in bundle.get("entry", [])} == expected, query
    assert (await client.get("/r5/OperationDefinition/none")).status_code == 404
    own = {
        "resourceType": "OperationDefinition",
        "name": "Own",
        "status": "draft",
        "kind": "operation",
        "code": "own",
        "system": True,
        "type": False,
        "instance": False,
    }
    stored = await client.post("/r5/OperationDefinition", content=orjson.dumps(own))
    read = await client.get(f"/r5/OperationDefinition/{stored.json()['id']}")
    assert read.json()["name"] == "Own", "a producer's own are resources like others"


async def test_a_405_names_the_methods_that_are_supported_and_no_others(client: httpx.AsyncClient) -> None:
    for path in sorted({concrete(row.path) for row in ROWS}):
        supported, allow_headers = set(), {}
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            content = None if method in {"GET", "DELETE"} else b"{}"
            response = await client.request(method, f"/r5/{path}", content=content)
            if response.status_code != 405:
                supported.add(method)
                continue
            assert response.json()["resourceType"] == "OperationOutcome"
            allow_headers[method] = set(filter(None, response.headers["Allow"].split(", ")))
        assert all(allowed == supported for allowed in allow_headers.values()), (path, allow_headers)


async def test_a_body_of_another_media_type_or_release_is_415(client: httpx.AsyncClient) -> None:
    taking = sorted({(item.method, item.path) for item in ROWS if item.method in {"POST", "PUT"}})
    for method, path in taking:
        wrong = ["application/fhir+xml", "text/plain", "application/fhir+json; fhirVersion=5.0"]
        wrong += ["application/fhir+json; charset=iso-8859-1"]
        wrong += [] if path.endswith("_search") else [FORM]
        for media in wrong:
            response = await client.request(
                method, f"/r4/{concrete(path)}", content=b"<x/>", headers={"Content-Type": media}
            )
            assert response.status_code == 415, f"{method} {path} {media}: {response.text}"
            assert response.json()["resourceType"] == "OperationOutcome"


async def test_an_unsupported_accept_header_is_406(client: httpx.AsyncClient) -> None:
    """Except for the discovery of the authorization server, which is JSON whatever is accepted (S-002)."""
    for method, path in sorted({(item.method, item.path) for item in ROWS} - {("GET", PATH)}):
        for accept in ("application/fhir+xml", "text/html", "application/fhir+json; fhirVersion=4.3"):
            response = await client.request(
                method,
                f"/r4/{concrete(path)}",
                content=None if method in {"GET", "DELETE"} else b"{}",
                headers={"Accept": accept},
            )
            assert response.status_code == 406, f"{method} {path} {accept}: {response.text}"
            assert response.json()["resourceType"] == "OperationOutcome"


async def test_the_requested_fhir_version_must_be_that_of_the_base(client: httpx.AsyncClient) -> None:
    for requested, release in itertools.product(Release, Release):
        media = f"application/fhir+json; fhirVersion={SHORT[requested]}"
        fits = requested is release
        read = await client.get(f"/{release}/metadata", headers={"Accept": media})
        assert read.status_code == (200 if fits else 406)
        sent = await client.post(
            f"/{release}/Patient", content=b'{"resourceType":"Patient"}', headers={"Content-Type": media}
        )
        assert sent.status_code == (201 if fits else 415)
        both = await client.get(
            f"/{release}/metadata", headers={"Accept": f"{media}, application/json;q=0.5"}
        )
        assert both.status_code == 200
        formatted = await client.get(f"/{release}/metadata", params={"_format": media})
        assert formatted.status_code == (200 if fits else 406)


async def test_other_refusals_have_their_own_status(client: httpx.AsyncClient) -> None:
    subscription_id = await register(client, "r4")
    document = subscription("r4", VITALS, NOWHERE) | {"id": subscription_id, "status": "off"}
    gone = (await client.post("/r4/Patient", content=b'{"resourceType":"Patient"}')).json()["id"]
    await client.delete(f"/r4/Patient/{gone}")
    for method, path, body, headers, status in (
        ("GET", "r4/Subscription/none", None, {}, 404),
        ("GET", "r4/Unheard/1", None, {}, 404),
        ("GET", "r9/metadata", None, {}, 404),
        ("GET", f"r4/Subscription/{subscription_id}/$unheard", None, {}, 404),
        ("GET", "r4", None, {}, 405),
        ("GET", f"r4/Patient/{gone}", None, {}, 410),
        ("PUT", f"r4/Subscription/{subscription_id}", document, {"If-Match": 'W/"9"'}, 412),
        ("DELETE", f"r4/Subscription/{subscription_id}", None, {"If-Match": 'W/"9"'}, 412),
        ("PUT", f"r4/Subscription/{subscription_id}", document, {"If-Match": "nine"}, 400),
        ("POST", "r4/Subscription", document | {"criteria": "http://example.org/none"}, {}, 422),
        ("POST", "r4/Subscription", document | {"status": "error"}, {}, 422),
        ("POST", "r4/Subscription", {"resourceType": "Patient"}, {}, 422),
    ):
        content = None if body is None else orjson.dumps(body)
        response = await client.request(method, f"/{path}", content=content, headers=headers)
        assert response.status_code == status, f"{method} {path}: {response.text}"
        assert response.json()["resourceType"] == "OperationOutcome"
    not_json = await client.post("/r4/Subscription", content=b"<Subscription/>")
    assert not_json.status_code == 400


@pytest.mark.parametrize("release", Release)
async def test_a_payload_in_xml_is_refused_with_the_reason(
    client: httpx.AsyncClient, release: Release
) -> None:
    document = subscription(release, VITALS, NOWHERE)
    if release is Release.R5:
        document["contentType"] = "application/fhir+xml"
    else:
        document["channel"]["payload"] = "application/fhir+xml"
    response = await client.post(f"/{release}/Subscription", content=orjson.dumps(document))
    assert response.status_code == 422
    (issue,) = response.json()["issue"]
    assert (issue["code"], "xml" in issue["diagnostics"]) == ("not-supported", True)
    assert issue["expression"] == [
        "Subscription.contentType" if release is Release.R5 else "Subscription.channel.payload"
    ]
