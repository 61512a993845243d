"""`fhir-broker doctor`: looks at everything that a broker depends on, and says what to do about it.

It changes nothing. Each module checks a part and gives findings; `examine` runs all of them, also where one
has found a failure.
"""

from broker.app.doctor.configuration import check_configuration
from broker.app.doctor.files import check_certificates, check_permissions
from broker.app.doctor.finding import Finding, State
from broker.app.doctor.handshakes import check_handshakes
from broker.app.doctor.network import check_endpoints, check_names
from broker.app.doctor.storage import check_disk, check_store
from broker.clock import Clock, SystemClock
from broker.settings import Settings

__all__ = ["Finding", "State", "examine"]


async def examine(settings: Settings, clock: Clock | None = None) -> list[Finding]:
    """Every finding, in the order in which an operator should read them."""
    clock = clock or SystemClock()
    findings, checked = await check_store(settings, clock)
    try:
        findings += check_disk(settings, checked.reports if checked is not None else ())
        findings += [finding async for finding in check_names(settings)]
        if checked is not None and checked.is_readable:
            findings += [finding async for finding in check_endpoints(settings, checked.store)]
        findings += [finding async for finding in check_handshakes(settings, clock.now_ms())]
    finally:
        if checked is not None:
            await checked.store.close()
    now_ms = clock.now_ms()
    return [
        *check_configuration(settings),
        *findings,
        *check_certificates(settings, now_ms),
        *check_permissions(settings),
    ]
