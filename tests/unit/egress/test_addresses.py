"""Which addresses and URLs may be contacted."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.egress.addresses import Allowance, check_reach, check_url, is_public

NOTHING = Allowance()
LAB = Allowance((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::10.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo client 10.0.0.1
    "2001:0:a00:1:0:0:f7f7:f7f7",  # Teredo server 10.0.0.1
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    assert NOTHING.permits(ip_address(address), "https") is not None
    assert NOTHING.permits(ip_address(address), "http") is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_notified_over_https_only(address: str) -> None:
    assert is_public(ip_address(address))
    assert NOTHING.permits(ip_address(address), "https") is None
    assert "https only" in str(NOTHING.permits(ip_address(address), "http"))


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::5", "::ffff:10.1.2.3"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_allowed_network_may_be_notified_over_http_and_https(address: str, scheme: str) -> None:
    assert LAB.permits(ip_address(address), scheme) is None


def test_allowing_a_network_allows_no_other_address() -> None:
    assert LAB.permits(ip_address("192.168.0.1"), "https") is not None
    assert LAB.permits(ip_address("64:ff9b::10.1.2.3"), "https") is not None
    assert LAB.permits(ip_address("8.8.8.8"), "http") is not None
    assert LAB.permits(ip_address("10.1.2.3"), "ftp") is not None


@given(st.ip_addresses(v=4).map(int))
def test_an_embedded_ipv4_address_is_judged_like_the_address_itself(inner: int) -> None:
    plain = is_public(IPv4Address(inner))
    assert is_public(IPv6Address(0xFFFF << 32 | inner)) is plain
    assert is_public(IPv6Address(0x64FF9B << 96 | inner)) is plain
    assert is_public(IPv6Address(0x2002 << 112 | inner << 80)) is plain


@given(st.ip_addresses(v=4))
def test_no_address_is_public_that_the_standard_library_calls_local(ip: IPv4Address) -> None:
    is_local = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved
    assert not (is_local and is_public(ip))


@pytest.mark.parametrize(
    "url",
    [
        "https://ehr.example",
        "https://ehr.example/fhir/hook?a=b&c=%20d",
        "https://EHR.example.:8443/x",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/hook",
        "https://127.0.0.1.example.com/",
    ],
)
def test_https_urls_of_the_public_internet_are_accepted(url: str) -> None:
    assert check_url(url, NOTHING) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/hook",
        "//ehr.example/hook",
        "ehr.example/hook",
        "ftp://ehr.example/",
        "mailto:nurse@ehr.example",
        "file:///etc/passwd",
        "https:///hook",
        "https://user@ehr.example/",
        "https://user:pw@ehr.example/",
        "https://@ehr.example/",
        "https://ehr.example/#part",
        "https://ehr.example/#",
        "https://ehr.example:0/",
        "https://ehr.example:/",
        "https://ehr.example:65536/",
        "https://ehr.example:x/",
        "https://ehr example/",
        "https://ehr.example/\r\nX: y",
        "https://ehr.example\\@10.0.0.1/",
        "https://ehr.example/ä",
        "https://ehr..example/",
        "https://-ehr.example/",
        "https://10%2e0.0.1/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://1.2.3.0x4/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.fe]/",
        "https://[::1/",
    ],
)
def test_a_malformed_url_is_refused(url: str) -> None:
    assert check_url(url, NOTHING)
    assert check_url(url, Allowance((ip_network("0.0.0.0/0"), ip_network("::/0"))))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_literal_address_is_judged_at_registration(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert check_url(f"https://{host}/hook", NOTHING)


def test_plain_http_needs_an_allowed_network_and_a_host_name_is_judged_at_the_lookup() -> None:
    assert check_reach("http://ehr.example/", NOTHING) == ["plain http is not allowed: use https"]
    assert check_reach("http://ehr.example/", LAB) == []
    assert check_reach("http://10.0.0.5/", LAB) == []
    assert check_reach("http://8.8.8.8/", LAB)
    assert check_reach("http://192.168.0.5/", LAB)


@given(st.text())
def test_any_text_is_judged_without_an_exception(text: str) -> None:
    check_url(text, NOTHING)
    check_url(f"https://{text}", LAB)
