"""Builds the validator of a process that takes changes, and the worker that reads its profiles again."""

from collections.abc import Awaitable, Callable

from broker.app.parts import Parts
from broker.app.roles import Role
from broker.fhir.validation import StructureValidator
from broker.ingest.conformance import ConformanceValidator, ProfilePolicy
from broker.ingest.validator import Validator
from broker.settings import Settings
from broker.workers.profile_reload import ProfileReload


def build_validator(parts: Parts) -> ConformanceValidator:
    """Structure and profiles, by the policy of the producer."""
    settings = parts.settings
    policies = {client: ProfilePolicy(policy) for client, policy in settings.profile_policies}
    return ConformanceValidator(
        StructureValidator(), parts.profiles, ProfilePolicy(settings.profile_policy), policies
    )


def build_intake_validator(parts: Parts) -> Validator:
    """Without profiles where no producer has a policy for them."""
    return build_validator(parts) if _checks_profiles(parts.settings) else StructureValidator()


def profile_loops(parts: Parts, roles: frozenset[Role]) -> dict[str, Callable[[], Awaitable[None]]]:
    """The loop that reads a folder of profiles again, by its name, in a process that uses one."""
    settings = parts.settings
    if settings.profiles_dir is None or not (Role.API in roles or _checks_profiles(settings)):
        return {}
    reload = ProfileReload(parts.profiles, settings.profiles_dir, parts.load_profiles, parts.topics)
    return {"profiles": lambda: reload.run(parts.stop)}


def _checks_profiles(settings: Settings) -> bool:
    return any(
        policy != "off" for policy in (settings.profile_policy, *dict(settings.profile_policies).values())
    )
