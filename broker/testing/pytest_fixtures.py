"""The fixtures of `pytest --fhir-broker`, for tests with and without asyncio.

`broker` is one broker for all tests of the run; `ehr`, `subscriber` and `gateway` are new for each test.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.testing.broker_process import BrokerProcess, ForeignBroker
from broker.testing.ehr import SimulatedEhr
from broker.testing.gateway import SimulatedGateway
from broker.testing.loop_thread import LoopThread
from broker.testing.pytest_plugin import URL_OPTION
from broker.testing.subscriber import SimulatedSubscriber
from broker.testing.synchronous import GatewayHandle, SubscriberHandle


@pytest.fixture(scope="session", name="broker")
def fhir_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerProcess | ForeignBroker]:
    """The broker: `broker.base_url`, and `broker.base("r4")` of a release. One that was started for the tests
    can be killed and started again, with its data.
    """
    url = request.config.getoption(URL_OPTION)
    if url:
        yield ForeignBroker(url)
        return
    folder: Path = tmp_path_factory.mktemp("fhir-broker")
    with BrokerProcess(folder) as broker:
        yield broker


@pytest.fixture(scope="session")
def fhir_broker_loop() -> Iterator[LoopThread]:
    """The event loop of the simulators, in a thread of its own."""
    with LoopThread() as thread:
        yield thread


@pytest.fixture
def ehr(fhir_broker_loop: LoopThread) -> Iterator[SimulatedEhr]:
    """An EHR: `ehr.base` is its FHIR base, `ehr.store` has its resources, `ehr.faults` makes it fail."""
    with fhir_broker_loop.entered(SimulatedEhr()) as simulated:
        yield simulated


@pytest.fixture
def subscriber(
    fhir_broker_loop: LoopThread, broker: BrokerProcess | ForeignBroker
) -> Iterator[SubscriberHandle]:
    """A subscriber: `subscriber.subscribe(topic)` registers an endpoint of it."""
    with fhir_broker_loop.entered(SimulatedSubscriber(validates=True)) as simulated:
        handle = SubscriberHandle(fhir_broker_loop, simulated, broker.base("r4"))
        yield handle
        handle.unsubscribe()


@pytest.fixture
def gateway(fhir_broker_loop: LoopThread, broker: BrokerProcess | ForeignBroker) -> Iterator[GatewayHandle]:
    """A device gateway: `gateway.send(resource)` sends to the broker; so does
    `gateway.send_heart_rates(80, 90)`.
    """
    with fhir_broker_loop.entered(SimulatedGateway(broker.base("r4"))) as simulated:
        yield GatewayHandle(fhir_broker_loop, simulated)
