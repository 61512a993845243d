"""A FHIR Subscription notification broker.

It accepts FHIR resources from devices and EHRs, matches each change against topic-based Subscriptions, and
sends the resulting events to the subscribers as notification Bundles: numbered, in order, at least once. The
README says when events are given up; `docs/architecture.md` shows the parts.
"""

__version__ = "0.1.0"
