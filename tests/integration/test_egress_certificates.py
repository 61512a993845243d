"""Client certificates towards endpoints: shown to the endpoints of their tenant only, renewed without a
restart, over TLS 1.2 at least. The endpoint is a real TLS server.
"""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.egress.client import EgressClient
from broker.egress.client_certificates import ClientCertificates
from broker.egress.http import HttpFailure, HttpResponse
from tests.faults.certificates import self_signed
from tests.integration.raw_endpoint import HERE, OK, listening, take


class MutualEndpoint:
    """An endpoint that records the client certificate of each request ('' for none)."""

    def __init__(self, folder: Path) -> None:
        self.file = self_signed(folder / "endpoint.pem")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.shown: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await take(reader)
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.shown.append(hashlib.sha256(certificate).hexdigest() if certificate else "")
            writer.write(OK)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))


def digest_of(file: Path) -> str:
    text = file.read_text()
    certificate = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])
    return hashlib.sha256(certificate).hexdigest()


@pytest.fixture
def endpoint(tmp_path: Path) -> MutualEndpoint:
    return MutualEndpoint(tmp_path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "clients"
    (directory / "ward").mkdir(parents=True)
    return directory


@contextlib.asynccontextmanager
async def sending(endpoint: MutualEndpoint, directory: Path) -> AsyncIterator[tuple[EgressClient, str]]:
    """A sender with the directory, and the URL of the endpoint."""
    certificates = ClientCertificates(directory, endpoint.trust)
    async with (
        listening(endpoint.serve, endpoint.context) as port,
        EgressClient(HERE, tls=endpoint.trust(), certificates=certificates) as client,
    ):
        yield client, f"https://127.0.0.1:{port}/hook"


async def post(client: EgressClient, url: str, tenant: str) -> HttpResponse | HttpFailure:
    return await client.post(url, headers=(), body=b"{}", timeout_s=20, tenant=tenant)


async def test_a_certificate_is_shown_for_its_tenant_only_and_connections_are_not_shared(
    endpoint: MutualEndpoint, directory: Path
) -> None:
    file = self_signed(directory / "ward" / "127.0.0.1.pem")
    endpoint.context.load_verify_locations(file)
    async with sending(endpoint, directory) as (client, url):
        for tenant in ("ward", "other", "ward", "", "../ward", "."):
            assert isinstance(await post(client, url, tenant), HttpResponse)
    own = digest_of(file)
    assert endpoint.shown == [own, "", own, "", "", ""]


async def test_a_renewed_certificate_is_used_from_the_next_notification_on(
    endpoint: MutualEndpoint, directory: Path
) -> None:
    file = self_signed(directory / "ward" / "127.0.0.1.pem")
    renewed = self_signed(directory / "renewed.pem")
    first, second = digest_of(file), digest_of(renewed)
    for certificate in (file, renewed):
        endpoint.context.load_verify_locations(certificate)
    async with sending(endpoint, directory) as (client, url):
        assert isinstance(await post(client, url, "ward"), HttpResponse)
        renewed.replace(file)
        assert isinstance(await post(client, url, "ward"), HttpResponse)
    assert endpoint.shown == [first, second]


async def test_an_endpoint_that_requires_a_certificate_refuses_without_one(
    endpoint: MutualEndpoint, directory: Path
) -> None:
    file = self_signed(directory / "ward" / "127.0.0.1.pem")
    endpoint.context.load_verify_locations(file)
    endpoint.context.verify_mode = ssl.CERT_REQUIRED
    async with sending(endpoint, directory) as (client, url):
        assert isinstance(await post(client, url, "ward"), HttpResponse)
        refused = await post(client, url, "other")
    assert isinstance(refused, HttpFailure)
    assert refused.kind == "no-response"
    assert endpoint.shown == [digest_of(file)]


async def test_a_file_that_cannot_be_used_is_a_failure_and_nothing_is_sent_without_it(
    endpoint: MutualEndpoint, directory: Path
) -> None:
    (directory / "ward" / "127.0.0.1.pem").write_text("hunter2")
    async with sending(endpoint, directory) as (client, url):
        failed = await post(client, url, "ward")
    assert isinstance(failed, HttpFailure)
    assert failed.text == (
        "the request could not be sent: the broker's client certificate for the endpoint cannot be used"
    )
    assert endpoint.shown == []


async def test_an_endpoint_with_tls_1_1_gets_nothing(endpoint: MutualEndpoint, directory: Path) -> None:
    endpoint.context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        endpoint.context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        endpoint.context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with sending(endpoint, directory) as (client, url):
        failed = await post(client, url, "ward")
    assert isinstance(failed, HttpFailure)
    assert endpoint.shown == []
    assert ssl.create_default_context().minimum_version >= ssl.TLSVersion.TLSv1_2
