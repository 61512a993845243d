"""Builds what tries a payload of a device, and what knows the mappings that readings are tried by."""

from broker.app.parts import Parts
from broker.app.profiles import build_validator
from broker.app.readings import Readings, reading_policy
from broker.ingest.intake import Intake
from broker.ingest.readings.trial import ReadingTrial
from broker.mapping.mapping_set import MappingSet
from broker.services.application import ApplicationServices
from broker.services.mappings import MappingService
from broker.services.reading_trial import ReadingTrialService


def build_mappings(readings: Readings) -> MappingService:
    return MappingService(lambda: _mappings(readings))


def build_reading_trial(
    parts: Parts, application: ApplicationServices, intake: Intake, readings: Readings
) -> ReadingTrialService:
    policy = reading_policy(parts.settings)
    return ReadingTrialService(
        ReadingTrial(lambda: _mappings(readings), intake, parts.resources, policy),
        build_validator(parts),
        application.explain,
        application.subscriptions,
        parts.catalog,
        parts.search_context,
        parts.clock,
    )


def _mappings(readings: Readings) -> MappingSet:
    """Those in force; none where a program brings a mapper of its own, which has no files."""
    mapper = readings.mapper()
    return mapper if isinstance(mapper, MappingSet) else MappingSet()
