"""Binary: content of any media type goes in and comes out as it is, and as the resource in FHIR JSON."""

import base64

import httpx
import orjson
import pytest

from broker.model.release import Release
from tests.fhir.rows import read_back

PDF = b"%PDF-1.7 \x00\xff"
JSON = {"Accept": "application/fhir+json"}


@pytest.mark.parametrize("release", Release)
async def test_raw_content_is_stored_and_returned(client: httpx.AsyncClient, release: Release) -> None:
    sent = {"Content-Type": "application/pdf", "X-Security-Context": "Patient/1"}
    created = await client.post(f"/{release}/Binary", content=PDF, headers=sent)
    assert created.status_code == 201, created.text
    read_back(release, created.content)
    binary = created.json()
    assert binary["contentType"] == "application/pdf"
    assert base64.b64decode(binary["data"]) == PDF
    assert binary["securityContext"] == {"reference": "Patient/1"}
    version = created.headers["Location"]
    url = version.partition("/_history")[0]
    for read in (url, version):
        for accept in ("application/pdf", "application/*", "image/png, */*;q=0.1"):
            raw = await client.get(read, headers={"Accept": accept})
            assert (raw.status_code, raw.content, raw.headers["Content-Type"]) == (
                200,
                PDF,
                "application/pdf",
            )
            assert raw.headers["X-Content-Type-Options"] == "nosniff", "no browser runs it on this origin"
            assert raw.headers["Content-Security-Policy"].startswith("sandbox")
        assert (await client.get(read, headers=JSON)).json() == binary
        assert (await client.get(f"{read}?_format=json")).json() == binary
        refused = await client.get(read, headers={"Accept": "image/png"})
        assert refused.status_code == 406
        assert refused.json()["resourceType"] == "OperationOutcome"
    updated = await client.put(url, content=b"<x/>", headers={"Content-Type": "application/fhir+xml"})
    assert (updated.status_code, updated.headers["ETag"]) == (200, 'W/"2"')
    assert (await client.get(url, headers={"Accept": "application/fhir+xml"})).content == b"<x/>"
    entries = [{"request": {"method": "GET", "url": url.partition(f"/{release}/")[2]}}]
    batch = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answer = (await client.post(f"/{release}", content=orjson.dumps(batch))).json()
    assert answer["entry"][0]["resource"]["contentType"] == "application/fhir+xml"


async def test_a_binary_in_fhir_json_is_the_resource(client: httpx.AsyncClient) -> None:
    body = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(b"hi").decode()}
    created = await client.post("/r4/Binary", content=orjson.dumps(body))
    url = created.headers["Location"].partition("/_history")[0]
    assert (await client.get(url, headers={"Accept": "text/plain"})).content == b"hi"
    assert (await client.get(url, headers=JSON)).json()["data"] == body["data"]
    unsupported = await client.post("/r4/Patient", content=PDF, headers={"Content-Type": "application/pdf"})
    assert unsupported.status_code == 415
    empty = await client.post("/r4/Binary", content=b"", headers={"Content-Type": "text/plain"})
    location = empty.headers["Location"].partition("/_history")[0]
    assert (await client.get(location, headers={"Accept": "*/*"})).content == b""
