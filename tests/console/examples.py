"""A path for each page of the console whose path has parameters."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "/subscriptions/{id}": "/subscriptions/ward",
    "/subscriptions/{id}/events": "/subscriptions/ward/events",
    "/subscriptions/{id}/explain": "/subscriptions/ward/explain",
    "/subscriptions/{id}/confirm/{action}": "/subscriptions/ward/confirm/resend",
    "/topics/{id}": "/topics/vital-signs",
}
"""By the path of the row. A row without parameters needs none."""
