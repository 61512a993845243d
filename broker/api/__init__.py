"""The HTTP face: FHIR bases, health, metrics. `routes.py` is its table of contents."""
