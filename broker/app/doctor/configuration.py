"""Checks the settings and the files that they name, as the processes read them at start."""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from broker.app.access import load_clients, load_issuers
from broker.app.doctor.finding import Finding, failure, ok, warning
from broker.app.mappings import check_mappings
from broker.app.outbound import load_outbound_rules
from broker.app.topics import load_catalog
from broker.app.writes import load_write_targets
from broker.errors import ConfigurationError
from broker.settings import Settings

CHECK = "settings"
_FILES: Mapping[str, Callable[[Settings], object]] = {
    "topics": load_catalog,
    "mappings": check_mappings,
    "clients": load_clients,
    "issuers": load_issuers,
    "outbound rules": load_outbound_rules,
    "write targets": load_write_targets,
}


def check_configuration(settings: Settings) -> Iterator[Finding]:
    """The files that the settings name, and combinations of settings that are risky."""
    problems = list(_problems(settings))
    yield from problems
    if not problems:
        yield ok(CHECK, f"valid, with their files: {', '.join(_FILES)}")
    yield from _risks(settings)


def _problems(settings: Settings) -> Iterator[Finding]:
    for name, load in _FILES.items():
        try:
            load(settings)
        except ConfigurationError as error:
            yield failure(
                CHECK, f"{name}: {error}", "Correct what the message names; the broker does not start."
            )
    try:
        settings.refuse_open()
    except ConfigurationError as error:
        yield failure(CHECK, str(error), "The role api does not start with this.")


def _risks(settings: Settings) -> Iterator[Finding]:
    if settings.auth == "off" and not settings.is_loopback and settings.allow_open:
        yield warning(
            CHECK,
            f"there is no access control, and BROKER_HOST={settings.host} can be reached from other machines",
            "Set BROKER_AUTH=smart (docs/security.md), or make sure that the network is closed.",
        )
    if settings.redis_url is not None and settings.high_water_file is None:
        yield warning(
            CHECK,
            "there is no high-water file: after a restore of the store nothing proves that it is older",
            "Set BROKER_HIGH_WATER_FILE for the role match, on a disk that outlives the process.",
        )
    if settings.redis_url is not None and settings.key_ring is None:
        yield warning(
            CHECK,
            "there is no key ring: Subscriptions with headers or signatures are refused",
            "Make one with `fhir-broker key-ring create`, and set BROKER_KEY_RING in every process.",
        )
    if not settings.audit:
        yield warning(
            CHECK, "there is no audit trail", "Set BROKER_AUDIT=on unless something else keeps one."
        )
    if settings.allow_unsafe_store:
        yield warning(
            CHECK,
            "BROKER_ALLOW_UNSAFE_STORE is on: the store may lose acknowledged changes unnoticed",
            "Unset it, and correct what the broker then reports of the store.",
        )
    if not settings.is_loopback and urlsplit(settings.base_url).scheme == "http":
        yield warning(
            CHECK,
            f"clients reach the broker in clear text: BROKER_BASE_URL={settings.base_url}",
            "Set BROKER_TLS_CERT (docs/tls.md), or the https URL of the proxy in front of the broker.",
        )
