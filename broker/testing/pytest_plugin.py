"""The pytest plugin of this package: `pytest --fhir-broker` adds the fixtures of `pytest_fixtures`.

pytest imports this module wherever the package is installed, so it imports nothing itself.
"""

import pytest

OPTION = "--fhir-broker"
URL_OPTION = "--fhir-broker-url"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fhir-broker")
    group.addoption(
        OPTION,
        action="store_true",
        help="add the fixtures broker, ehr, subscriber and gateway; a broker is started for the tests",
    )
    group.addoption(
        URL_OPTION, metavar="URL", help="the same fixtures with the broker, or the FHIR base, at URL"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(OPTION) or config.getoption(URL_OPTION):
        from broker.testing import pytest_fixtures  # noqa: PLC0415 only where the fixtures are wanted

        config.pluginmanager.register(pytest_fixtures, "fhir-broker-fixtures")
