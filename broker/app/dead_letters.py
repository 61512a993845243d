"""Builds the services of dead letters, and the worker of the runs that process many of them."""

from broker.app.parts import Parts
from broker.app.readings import Readings
from broker.services.dead_letter_runs import DeadLetterRunService
from broker.services.dead_letters import DeadLetterService
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letter_runs import DeadLetterRuns
from broker.workers.dead_letter_runner import DeadLetterRunner


def build_dead_letters(parts: Parts, readings: Readings) -> DeadLetterService:
    return DeadLetterService(parts.dead_letters, DeadLetterActions(parts.store), readings.redrive)


def build_dead_letter_runs(parts: Parts, readings: Readings) -> DeadLetterRunService:
    return DeadLetterRunService(
        build_dead_letters(parts, readings), DeadLetterRuns(parts.store), parts.audit_journal, parts.clock
    )


def build_dead_letter_runner(parts: Parts, readings: Readings) -> DeadLetterRunner:
    return DeadLetterRunner(build_dead_letter_runs(parts, readings), DeadLetterRuns(parts.store), parts.stop)
