"""Application services: what a client or an operator can do with the broker, independent of how they ask.

HTTP handlers, the command line and a console call them. A service takes a `Principal` and domain values,
returns domain values, and raises the errors of `broker/errors.py`. It knows neither HTTP nor how a result is
written as FHIR.
"""
