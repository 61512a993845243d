"""The clients of external issuers, as delivery finds them: by the id of the owner of a Subscription."""

from pathlib import Path

import pytest

from broker.model.scopes import parse_scopes
from broker.security.issuers import IssuerFile

FILE = """
[[issuer]]
name = "idp"
issuer = "https://idp.example"
audience = ["https://broker.example"]
scope = "system/Observation.rs"
tenant_claim = "hospital"
tenants = ["north", "south"]
disabled_clients = ["left"]

[[issuer]]
name = "plain"
issuer = "https://plain.example"
audience = "https://broker.example"
scope = "system/*.rs"
"""


@pytest.fixture
def issuers(tmp_path: Path) -> IssuerFile:
    path = tmp_path / "issuers.toml"
    path.write_text(FILE)
    loaded = IssuerFile(path, lambda _: ())
    loaded.load()
    return loaded


def test_a_client_has_the_tenant_of_its_id_and_the_limit_of_its_issuer(issuers: IssuerFile) -> None:
    client = issuers.client("idp:north:ehr")
    assert client is not None
    assert (client.client_id, client.tenant, client.is_disabled) == ("idp:north:ehr", "north", False)
    assert client.scopes == parse_scopes("system/Observation.rs")
    plain = issuers.client("plain:a:b")
    assert plain is not None
    assert (plain.client_id, plain.tenant) == ("plain:a:b", "default")
    left = issuers.client("idp:south:left")
    assert left is not None
    assert left.is_disabled


@pytest.mark.parametrize("client_id", ["idp:east:ehr", "idp:north:", "idp:ehr", "other:ehr", "idp", ""])
def test_other_ids_are_no_clients(issuers: IssuerFile, client_id: str) -> None:
    assert issuers.client(client_id) is None


def test_ids_that_begin_with_an_issuer_belong_to_it(issuers: IssuerFile) -> None:
    assert issuers.claims_id("idp:anything")
    assert not issuers.claims_id("idp")
    assert not issuers.claims_id("gateway:idp")
