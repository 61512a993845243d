"""A FHIR Subscription notification broker.

Device events and patient context come in as FHIR resources, are matched against topic-based Subscriptions, and leave as
notification Bundles: numbered without gaps, in order, at least once. `docs/architecture.md` is the map.
"""

from importlib.metadata import version

__version__ = version("fhir-broker")
