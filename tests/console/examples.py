"""A path for each page of the console whose path has parameters."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "/subscriptions/{id}": "/subscriptions/ward",
    "/subscriptions/{id}/attempts": "/subscriptions/ward/attempts",
    "/subscriptions/{id}/events": "/subscriptions/ward/events",
    "/subscriptions/{id}/explain": "/subscriptions/ward/explain",
    "/subscriptions/{id}/confirm/{action}": "/subscriptions/ward/confirm/resend",
    "/dead-letters/{id}": "/dead-letters/reading-1-0",
    "/dead-letters/{id}/payload": "/dead-letters/reading-1-0/payload",
    "/clients/{id:path}": "/clients/gateway",
    "/topics/{id}": "/topics/vital-signs",
}
"""By the path of the row. A row without parameters needs none."""

CHECKED_ELSEWHERE: Mapping[str, str] = {
    "/subscriptions/{id}/attempts/{attempt}": "test_subscription_pages.py",
    "/tour": "test_tour.py",
    "/tour/{step}": "test_tour.py",
}
"""Rows whose path nobody knows beforehand, and those that only a demo has: the file whose test comes to them
by links, and checks them.
"""
