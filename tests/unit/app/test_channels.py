"""Which private networks a broker may notify."""

import pytest

from broker.app import allowed_networks
from broker.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_a_broker_on_one_machine_may_notify_that_machine(host: str) -> None:
    assert [str(network) for network in allowed_networks(Settings(host=host))] == ["127.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({"BROKER_HOST": "0.0.0.0"}, []),
        ({"BROKER_HOST": "broker.example"}, []),
        ({"BROKER_REDIS_URL": "redis://127.0.0.1:6379/0"}, []),
        ({"BROKER_EGRESS_ALLOW": "10.0.0.0/8"}, ["10.0.0.0/8"]),
    ],
)
def test_any_other_broker_notifies_no_private_network_by_itself(
    environ: dict[str, str], allowed: list[str]
) -> None:
    assert [str(network) for network in allowed_networks(Settings.from_environment(environ))] == allowed
