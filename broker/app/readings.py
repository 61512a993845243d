"""Builds what takes readings in: `ReadingIntake` for HTTP and the inbox, and the worker that processes
quarantined readings again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from broker.api.readings import ReadingParts
from broker.app.parts import Parts
from broker.ingest.intake import Intake
from broker.ingest.readings.devices import Devices
from broker.ingest.readings.identities import Identities
from broker.ingest.readings.intake import ReadingIntake
from broker.ingest.readings.policy import ReadingPolicy
from broker.ingest.readings.redrive import ReadingRedrive
from broker.ingest.readings.resolution import Resolver
from broker.ingest.readings.writing import ObservationWriter
from broker.mapping.reading import IdentityPolicy, PayloadMapper
from broker.services.client_limits import ClientLimits
from broker.settings import Settings
from broker.workers.reading_redrive import KnownResources, ReadingRedriveWorker


@dataclass(frozen=True, slots=True)
class Readings:
    """What the roles share: the mappings in force, the way in for readings, what redrives them, and what is
    known of devices.
    """

    mapper: Callable[[], PayloadMapper]
    intake: ReadingIntake
    redrive: ReadingRedrive
    known: KnownResources


def build_readings(parts: Parts, intake: Intake, mapper: Callable[[], PayloadMapper]) -> Readings:
    """`mapper` gives the mappings that are loaded at the moment."""
    identities, devices = Identities(intake), Devices(parts.resources)
    resolver = Resolver(identities, devices, reading_policy(parts.settings))
    reading_intake = ReadingIntake(
        mapper, resolver, ObservationWriter(intake, parts.resources), parts.quarantine, parts.tracer
    )
    redrive = ReadingRedrive(reading_intake, parts.quarantine)
    known = KnownResources(identities, devices)
    parts.awaited.listen(known.drop)
    return Readings(mapper, reading_intake, redrive, known)


def build_reading_parts(parts: Parts, readings: Readings, limits: ClientLimits) -> ReadingParts:
    """What the endpoint of readings uses."""
    settings = parts.settings
    return ReadingParts(
        readings.intake,
        parts.clock,
        limits,
        settings.base_url,
        max_body_bytes=settings.max_body,
        max_entries=settings.max_entries,
    )


def build_redrive_worker(parts: Parts, readings: Readings) -> ReadingRedriveWorker:
    return ReadingRedriveWorker(parts.store, parts.awaited, readings.redrive, readings.known, parts.stop)


def reading_policy(settings: Settings) -> ReadingPolicy:
    """What readings may do, by the settings."""
    return ReadingPolicy(
        devices=IdentityPolicy(settings.reading_devices),
        patients=IdentityPolicy(settings.reading_patients),
        implausible_time=settings.reading_clock,
        future=settings.reading_future,
        creates_metrics=settings.reading_metrics == "create",
    )
