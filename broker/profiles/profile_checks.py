"""Checks of a value by other profiles: those of its type, of a resource within another, of a target."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from broker.profiles.base_checks import Check, target_type
from broker.profiles.element_checks import Origin
from broker.profiles.found import Found

Compile = Callable[[], Check | None]
"""Compiles a profile when it is needed; None for one that is not known, or says nothing."""
ANY = "Resource"
"""The type that stands for all."""


class TargetProfile(NamedTuple):
    """A profile that a target may meet, and the types that it is for."""

    url: str
    types: Sequence[str]
    compile: Compile


def first_failure(profiles: Sequence[Compile], value: Any, path: str, found: Found) -> Found | None:
    """None if the value meets one of the profiles; otherwise what is wrong by the first."""
    first: Found | None = None
    for compile_profile in profiles:
        check = compile_profile()
        if check is None:
            return None
        trial = found.trial()
        check(value, path, trial)
        if not any(issue.severity == "error" for issue in trial.issues):
            return None
        first = trial if first is None else first
    return first


def any_profile_check(profiles: Sequence[Compile], origin: Origin) -> Check:
    """The value meets one of several profiles; one that is not known is always met."""

    def check(value: Any, path: str, found: Found) -> None:
        failure = first_failure(profiles, value, path, found)
        if failure is not None:
            found.adopt(failure, origin.element)

    return check


def nested_check(permitted: Mapping[str, Sequence[Compile]], origin: Origin) -> Check:
    """A resource within another: its type, and the profiles that are permitted for this type."""
    listed = ", ".join(sorted(permitted))

    def check(value: Any, path: str, found: Found) -> None:
        name = value.get("resourceType") if isinstance(value, dict) else None
        profiles = permitted.get(name if name in permitted else ANY) if isinstance(name, str) else ()
        if profiles is None:
            text = origin.text(f"a resource of the type {name} is not permitted here, only {listed}")
            found.add("structure", path, text, element=origin.element)
        elif profiles:
            failure = first_failure(profiles, value, path, found.of_nested(value))
            if failure is not None:
                found.adopt(failure, origin.element)

    return check


def targets_check(targets: Sequence[TargetProfile], origin: Origin) -> Check:
    """The target has one of the types, as far as its type can be known; one that is at hand also meets a
    profile for its type.
    """
    permitted = frozenset(name for each in targets for name in each.types)
    by_type = {name: [each for each in targets if name in each.types] for name in permitted}
    listed = ", ".join(sorted(permitted))
    is_any = ANY in permitted

    def check(value: Any, path: str, found: Found) -> None:
        name = target_type(value, found)
        if not name:
            return
        if name not in permitted and not is_any:
            text = origin.text(f"a reference to {name} is not permitted here, only to {listed}")
            found.add("structure", path, text, element=origin.element)
            return
        target = found.target(value) if found.has_neighbours else None
        if target is not None and not meets_any(by_type.get(name, ()), target, path, found):
            text = origin.text(f"the target meets none of the profiles for {name} that are permitted here")
            found.add("structure", path, text, element=origin.element)

    return check


def aggregation_check(modes: frozenset[str], origin: Origin) -> Check:
    """Where the target may be: contained in the resource, in the same Bundle, or elsewhere."""
    text = origin.text(f"the target must be {' or '.join(sorted(modes))}")

    def check(value: Any, path: str, found: Found) -> None:
        reference = value.get("reference") if isinstance(value, dict) else None
        if not isinstance(reference, str):
            return
        if reference.startswith("#"):
            mode = "contained"
        else:
            mode = "referenced" if found.target(value) is None else "bundled"
        if mode not in modes and not (mode == "bundled" and "referenced" in modes):
            found.add("structure", path, text, element=origin.element)

    return check


def meets_any(profiles: Sequence[TargetProfile], target: Mapping[str, Any], path: str, found: Found) -> bool:
    """Whether a resource meets one of the profiles; also if there are none."""
    for each in profiles:
        check = each.compile()
        if check is None or not found.enter(target, each.url):
            return True
        trial = found.of_nested(target).trial()
        try:
            check(target, path, trial)
        finally:
            found.leave(target, each.url)
        if not any(issue.severity == "error" for issue in trial.issues):
            return True
    return not profiles


def imposed_check(url: str, find: Callable[[str], Check | None]) -> Check:
    """The check of a profile that another one imposes; profiles may impose each other."""

    def check(value: Any, path: str, found: Found) -> None:
        imposed = find(url)
        if imposed is not None and found.enter(value, url):
            try:
                imposed(value, path, found)
            finally:
                found.leave(value, url)

    return check
