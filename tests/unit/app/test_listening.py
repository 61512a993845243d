"""The listening socket: the port that it has, and an address that cannot be used."""

import pytest

from broker.app import bind, with_bound_port
from broker.errors import ConfigurationError
from broker.settings import Settings


def test_a_free_port_becomes_part_of_the_settings_and_the_base_url() -> None:
    with bind(Settings(port=0)) as listening:
        port = listening.getsockname()[1]
        settings = with_bound_port(Settings(port=0), listening)
    assert port > 0
    assert settings.port == port
    assert settings.base_url == f"http://127.0.0.1:{port}"


def test_a_base_url_that_was_set_is_not_changed_by_a_fixed_port() -> None:
    with bind(Settings(port=0)) as listening:
        port = listening.getsockname()[1]
        settings = with_bound_port(Settings(port=port, base_url="https://broker.example"), listening)
    assert settings.base_url == "https://broker.example"


def test_a_port_in_use_is_reported_with_the_settings_to_change() -> None:
    with bind(Settings(port=0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            bind(Settings(port=port))
    assert f"BROKER_PORT={port}: Address already in use" in str(caught.value)
    assert "Choose another port" in str(caught.value)


def test_an_ipv6_address_is_bound() -> None:
    try:
        listening = bind(Settings(host="::1", port=0))
    except ConfigurationError:
        pytest.skip("this machine has no IPv6")
    with listening:
        assert listening.getsockname()[0] == "::1"
