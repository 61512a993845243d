"""For how long a response may be kept: what is contradictory or cannot be read means not at all."""

import pytest

from broker.egress.caching import lifetime_s

NOON, LATER = "Thu, 26 Nov 2026 12:00:00 GMT", "Thu, 26 Nov 2026 12:01:30 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"cache-control": "public"}, None),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": 'Private, MAX-AGE="60"'}, 60),
        ({"cache-control": "max-age=600, max-age=60"}, 60),
        ({"cache-control": "max-age=600, s-maxage=30"}, 30),
        ({"cache-control": "max-age=600", "age": "100"}, 500),
        ({"cache-control": "max-age=600", "age": "900"}, 0),
        ({"cache-control": "max-age=600", "age": "old"}, 0),
        ({"cache-control": "max-age=600, no-store"}, 0),
        ({"cache-control": "no-cache, max-age=600"}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": "max-age=much"}, 0),
        ({"cache-control": "max-age=600", "expires": NOON, "date": LATER}, 600),
        ({"cache-control": "public", "expires": LATER, "date": NOON}, 90),
        ({"expires": LATER, "date": NOON}, 90),
        ({"expires": NOON, "date": LATER}, 0),
        ({"expires": LATER}, 0),
        ({"expires": "0", "date": NOON}, 0),
    ],
)
def test_lifetime(headers: dict[str, str], seconds: float | None) -> None:
    assert lifetime_s(headers) == seconds
