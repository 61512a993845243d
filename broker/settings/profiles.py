"""The settings of profiles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from broker.settings.environment import Agreement, setting
from broker.settings.kinds import BOOL, PATH, POLICIES, choice


@dataclass(frozen=True)
class ProfileSettings:
    """Part of `Settings`."""

    profiles_dir: Path | None = setting(
        None,
        PATH,
        "",
        "The directory of FHIR packages (*.tgz) and folders of JSON files with profiles, value sets and code"
        " systems, besides the built-in vital signs of FHIR R4 and US Core (docs/profiles.md). SIGHUP makes"
        " every process read it again.",
    )
    profile_policy: Literal["off", "warn", "reject"] = setting(
        "off",
        choice("off", "warn", "reject"),
        "off",
        "What follows if a resource does not meet its profiles. off: they are not checked. warn: it is"
        " accepted, with warnings in the OperationOutcome that Prefer: return=OperationOutcome asks for."
        " reject: it is refused.",
        agreement=Agreement.EXPECTED,
    )
    profile_policies: tuple[tuple[str, str], ...] = setting(
        (),
        POLICIES,
        "",
        "Producers with a policy of their own: client ids (fhir:inbox for the inbox stream), each with off,"
        " warn or reject.",
        agreement=Agreement.EXPECTED,
    )
    profile_strict: bool = setting(
        False,
        BOOL,
        "false",
        "Makes errors of what HL7 calls unwanted and is a warning otherwise: the binding of the values of"
        " components to the units of vital signs.",
    )
