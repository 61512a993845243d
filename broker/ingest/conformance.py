"""The validator that checks profiles: the structure first, then profiles by the policy of the producer.

Under `warn`, whatever a profile finds accompanies the acceptance; under `reject`, its errors refuse the
change. `app` injects it into intake if any producer has such a policy, and into `$validate` always.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from broker.errors import Issue
from broker.ingest.validator import REFUSING_SEVERITIES, Validator
from broker.model.release import Release
from broker.model.resource import Resource

_MAX_ISSUES = 100


class ProfilePolicy(StrEnum):
    """What follows if a resource does not meet a profile."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


class Profiles(Protocol):
    """Knows profiles (`profiles.catalog.ProfileCatalog`)."""

    def validate(self, release: Release, resource: Resource, profiles: Sequence[str] = ()) -> Sequence[Issue]:
        """The issues of a resource of sound structure, by its own profiles and the given ones.

        Raises `Unprocessable` for a given profile that is not known.
        """
        ...


class ConformanceValidator:
    """`policies` are those of single producers, by client id or `fhir:inbox`; others have `policy`."""

    def __init__(
        self,
        structure: Validator,
        profiles: Profiles,
        policy: ProfilePolicy,
        policies: Mapping[str, ProfilePolicy],
    ) -> None:
        self._structure = structure
        self._profiles = profiles
        self._policy = policy
        self._policies = policies

    def validate(
        self, release: Release, resource_type: str, resource: Resource, producer: str = ""
    ) -> Sequence[Issue]:
        issues = self._structure.validate(release, resource_type, resource)
        policy = self._policies.get(producer, self._policy)
        if policy is ProfilePolicy.OFF or _refuse(issues):
            return issues
        found = self._profiles.validate(release, resource)
        if policy is ProfilePolicy.WARN:
            found = [replace(issue, severity="warning") if _refuse([issue]) else issue for issue in found]
        return [*issues, *found][:_MAX_ISSUES]

    def examine(self, release: Release, resource_type: str, resource: Resource) -> Sequence[Issue]:
        """By the structure and the resource's own profiles, whatever the policy."""
        issues = self._structure.validate(release, resource_type, resource)
        found = () if _refuse(issues) else self._profiles.validate(release, resource)
        return [*issues, *found][:_MAX_ISSUES]

    def validate_profile(
        self, release: Release, resource_type: str, resource: Resource, profile: str
    ) -> Sequence[Issue]:
        """By the structure, the profile and the resource's own profiles, whatever the policy."""
        issues = self._structure.validate(release, resource_type, resource)
        found = () if _refuse(issues) else self._profiles.validate(release, resource, [profile])
        return [*issues, *found][:_MAX_ISSUES]


def _refuse(issues: Sequence[Issue]) -> bool:
    return any(issue.severity in REFUSING_SEVERITIES for issue in issues)
