"""The pytest plugin adds its fixtures with an option only; examples/ and docs/harness.md use them."""

from typing import Any

import pytest

from broker.testing import pytest_fixtures
from broker.testing.broker_process import ForeignBroker
from broker.testing.pytest_plugin import OPTION, URL_OPTION, pytest_configure


class Config:
    """The part of pytest's configuration that the plugin uses."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.pluginmanager = self
        self.registered: list[tuple[object, str]] = []

    def getoption(self, name: str) -> Any:
        return self._options.get(name)

    def register(self, plugin: object, name: str) -> None:
        self.registered.append((plugin, name))


@pytest.mark.parametrize("options", [{OPTION: True}, {URL_OPTION: "http://127.0.0.1:9"}])
def test_an_option_adds_the_fixtures(options: dict[str, Any]) -> None:
    config: Any = Config(**options)
    pytest_configure(config)
    assert config.registered == [(pytest_fixtures, "fhir-broker-fixtures")]


def test_without_an_option_there_are_no_fixtures() -> None:
    config: Any = Config()
    pytest_configure(config)
    assert config.registered == []


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9/r5"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9/r5"),
        ("https://other.example/fhir/", "https://other.example/fhir"),
        ("https://other.example/r5", "https://other.example/r5"),
    ],
)
def test_a_url_is_that_of_a_broker_or_a_fhir_base(url: str, base: str) -> None:
    assert ForeignBroker(url).base("r5") == base
