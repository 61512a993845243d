"""Preconditions on the current version of a resource: what If-Match and If-None-Match require (RFC 9110,
13.1).

The store evaluates them in the script that writes, so nothing happens between the check and the change.
`shared/preconditions.lua` has the same rule as `is_met_by`.
"""

from typing import NamedTuple

ANY = "*"


class VersionCondition(NamedTuple):
    """What the current version must be (`if_match`) and must not be (`if_none_match`).

    Each is '' (no condition), `*` (any version: the resource exists), or versions separated by blanks.
    """

    if_match: str = ""
    if_none_match: str = ""

    def is_met_by(self, version: int | None) -> bool:
        """Whether the current version meets the condition; None where the resource does not exist."""
        return (not self.if_match or _is_named(self.if_match, version)) and not (
            self.if_none_match and _is_named(self.if_none_match, version)
        )

    def failure(self, name: str, version: int) -> str:
        """Why the condition is not met, and what to do next. `version` is 0 where nothing was ever stored."""
        if self.if_none_match and self.is_met_by(None):
            return (
                f"If-None-Match is not met: {name} exists at version {version}. "
                "Read it, and send If-Match with its ETag to change it."
            )
        if not version or self.if_match == ANY or str(version) in self.if_match.split():
            return f"If-Match is not met: {name} does not exist. Leave If-Match out to create it."
        return (
            f"If-Match is not met: {name} is at version {version}, not {' or '.join(self.if_match.split())}. "
            "Read it again and repeat the change with its current ETag."
        )


UNCONDITIONAL = VersionCondition()
MUST_NOT_EXIST = VersionCondition(if_none_match=ANY)


def _is_named(versions: str, version: int | None) -> bool:
    return version is not None and (versions == ANY or str(version) in versions.split())
