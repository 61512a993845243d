"""Checks what was written to EHRs against the promises of the channel `fhir-write`, by rules like those of
`checker.py`:

    duplicate  one resource of the broker is two at the EHR, or one patient is
    order      a change of a resource was written first after a later change of it, or the EHR is left with
               another change than the last that was written first
    foreign    a change that nobody requested, or of a patient outside the subscription
    refused    a change that the broker had refused

A change may be written again after a lost answer, also an earlier one: the later ones follow again.
"""

from collections.abc import Callable, Mapping, Sequence

from tests.faults.history import (
    Answer,
    Change,
    ChangeRequest,
    ResourceWritten,
    SubscriptionActivated,
)

Report = Callable[[str, str], None]
"""Takes the rule and what happened."""


def find_wrong_writes(
    writes: Sequence[ResourceWritten],
    subscriptions: Mapping[str, SubscriptionActivated],
    requests: Mapping[Change, ChangeRequest],
    report: Report,
) -> dict[str, dict[Change, int]]:
    """Reports what is wrong; by subscription, the changes that were written."""
    accepted: dict[str, dict[Change, int]] = {}
    places: dict[tuple[str, str], str] = {}
    first: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    for written in writes:
        name, key = written.subscription, (written.subscription, written.resource)
        shown = f"{name}: {written.resource} change {written.sequence}"
        _find_foreign(written, subscriptions.get(name), requests.get(written.change), shown, report)
        for own, there in ((written.resource, written.ehr_id), (written.patient, written.ehr_patient)):
            if places.setdefault((name, own), there) != there:
                report("duplicate", f"{name}: {own} is {places[name, own]} and {there}")
        is_new = written.change not in accepted.setdefault(name, {})
        accepted[name].setdefault(written.change, len(accepted[name]) + 1)
        if is_new and written.sequence < first.get(key, 0):
            report("order", f"{shown}, after change {first[key]}")
        if is_new:
            first[key] = max(written.sequence, first.get(key, 0))
        last[key] = written.sequence
    for (name, resource), sequence in last.items():
        if sequence != first[name, resource]:
            report("order", f"{name}: {resource} is left as change {sequence} of {first[name, resource]}")
    return accepted


def _find_foreign(
    written: ResourceWritten,
    subscription: SubscriptionActivated | None,
    request: ChangeRequest | None,
    shown: str,
    report: Report,
) -> None:
    if subscription is None or request is None or request.patient not in subscription.patients:
        report("foreign", f"{shown}, which nobody requested there")
    elif request.answer is Answer.REFUSED:
        report("refused", f"{shown}, which was refused")
    elif request.patient != written.patient:
        report("foreign", f"{shown}, of {written.patient}")
