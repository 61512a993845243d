"""Which endpoints ask for access tokens: the file is read strictly, and a token stays below its prefix."""

from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.security.outbound_rules import OutboundRules

GOOD = """
[[endpoint]]
url = "https://ehr.example.org/fhir"
client_id = "broker"
scope = "system/Bundle.c"
token_endpoint = "https://auth.example.org/token"

[[endpoint]]
url = "https://ehr.example.org/fhir/icu/"
client_id = "broker-icu"
scope = "system/Bundle.c"
fhir_base = "https://ehr.example.org/fhir/"

[[endpoint]]
tenant = "clinic"
url = "https://ehr.example.org"
client_id = "clinic"
scope = "system/Bundle.c"
method = "client_secret_basic"
secret_file = "secret"
token_endpoint = "https://auth.example.org/token"
"""


def rules(folder: Path, text: str = GOOD) -> OutboundRules:
    path = folder / "outbound.toml"
    path.write_text(text)
    return OutboundRules.read(path)


@pytest.mark.parametrize(
    ("url", "client_id"),
    [
        ("https://ehr.example.org/fhir", "broker"),
        ("https://ehr.example.org/fhir/hook?x=1", "broker"),
        ("https://EHR.example.org:443/fhir/hook", "broker"),
        ("https://ehr.example.org/fhir/icu/hook", "broker-icu"),
        ("https://ehr.example.org/fhir/icu", "broker-icu"),
        ("https://ehr.example.org/fhirx", None),
        ("https://ehr.example.org/", None),
        ("https://ehr.example.org/fhir/../admin", None),
        ("https://ehr.example.org/fhir/%2e%2E/admin", None),
        ("http://ehr.example.org/fhir/hook", None),
        ("https://ehr.example.org:8443/fhir/hook", None),
        ("https://ehr.example.org.evil.example/fhir/hook", None),
        ("https://evil.example/https://ehr.example.org/fhir", None),
        ("https://other.example.org/fhir", None),
        ("not a url", None),
    ],
)
def test_the_longest_prefix_of_the_same_origin_decides(
    tmp_path: Path, url: str, client_id: str | None
) -> None:
    rule = rules(tmp_path).find(DEFAULT_TENANT, url)
    assert (None if rule is None else rule.client_id) == client_id


def test_a_rule_is_of_one_tenant(tmp_path: Path) -> None:
    found = rules(tmp_path)
    clinic = found.find(Tenant("clinic"), "https://ehr.example.org/fhir/hook")
    assert clinic is not None
    assert clinic.client_id == "clinic"
    assert found.find(Tenant("other"), "https://ehr.example.org/fhir/hook") is None
    (tmp_path / "secret").write_text("of the clinic\n")
    assert clinic.secret() == "of the clinic"
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        clinic.secret()


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("[[endpoint]]\nurl", "[[endpoints]]\nurl", "write tables"),
        ("scope = ", "scopes = ", "endpoint 1: scope is missing"),
        ('client_id = "broker"', 'client_id = "broker"\nsecret = "x"', "secret: not known"),
        ('client_id = "broker"', 'client_id = "broker"\nmethod = "basic"', "method is none of"),
        ('client_id = "broker"', 'client_id = "broker"\nfhir_base = "https://e.example"', "either"),
        ('client_id = "broker"', 'client_id = "broker"\ntenant = "a b"', "no name of a tenant"),
        ('url = "https://ehr.example.org/fhir"', 'url = "ehr.example.org"', "not an http"),
        ('url = "https://ehr.example.org/fhir"', 'url = "https://u:p@ehr.example.org"', "more than"),
        ('secret_file = "secret"', "", "secret_file is missing"),
        ("/fhir/icu/", "/fhir/", "endpoint 2: another one"),
        ("scope = ", "scope = [", "not TOML"),
    ],
)
def test_a_file_that_is_not_valid_is_refused_with_the_place(
    tmp_path: Path, before: str, after: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        rules(tmp_path, GOOD.replace(before, after, 1))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        OutboundRules.read(tmp_path / "none.toml")
