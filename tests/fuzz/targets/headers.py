"""Requests with any method, URL, media types, preconditions and preferences: no answer is a server error.

The first line is method and target, the lines up to an empty one are headers, the rest is the body.
"""

from tests.fuzz.broker_app import APP
from tests.fuzz.target import Target, text_of

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def check(data: bytes) -> None:
    head, _, body = text_of(data).partition("\n\n")
    line, *fields = head.split("\n")
    method, _, target = line.partition(" ")
    headers = [(name, value) for name, colon, value in (field.partition(": ") for field in fields) if colon]
    APP.request(method if method in _METHODS else "GET", "/" + target.lstrip("/"), headers, body.encode())


_READING = '{"resourceType":"Observation","id":"a","status":"final","code":{"text":"x"}}'
_JSON = "Content-Type: application/fhir+json"
TARGET = Target(
    check,
    [
        "GET /r4/metadata\nAccept: application/fhir+json; fhirVersion=4.0",
        "GET /r5/metadata?_format=application/fhir%2Bjson;q=0,*/*\nAccept: ;;,=;q=",
        f'PUT /r4/Observation/a\n{_JSON}\nIf-Match: W/"1"\n\n{_READING}',
        f"PUT /r4/Observation/a\n{_JSON}\nIf-None-Match: *\n\n{_READING}",
        f'PUT /r4/Observation/a\n{_JSON}\nIf-Match: *, W/"\u00b2"\n\n{_READING}',
        f"PUT /r4/Observation?identifier=a|b\n{_JSON}\n\n{_READING}",
        f"POST /r4/Observation\n{_JSON}\nIf-None-Exist: identifier=urn:a|b\nIdempotency-Key: k\n\n{_READING}",
        f"POST /r4/Observation\n{_JSON}\nIf-None-Exist: http://a/r4/Patient?identifier=%7C%2C&x\n\n{_READING}",
        f"POST /r5/Observation\nContent-Type: application/json;charset=utf-16\nPrefer: a=b\n\n{_READING}",
        "POST /r4/Observation\nContent-Length: \u00b2\nContent-Encoding: gzip\n\n\x1f\x8b",
        'GET /r4/Observation/a\nIf-None-Match: W/"1"\nIf-Modified-Since: Sat, 01 Jan 0000 00:00:00 GMT',
        "GET /r4/Observation/a/_history/99999999999999999999",
        "GET /r4/Subscription?_count=-1&_sort=x&status=active&url=http://a&page=after.%00",
        "POST /r4/Subscription/_search\nContent-Type: application/x-www-form-urlencoded\n\n_id=a&%ff=%",
        "GET /r5/Subscription/a/$events?eventsSinceNumber=99999999999999999999&content=\u0661",
        "GET /r5/Subscription/$status?id=a,b&status=%2C",
        "GET /r4/SubscriptionTopic/vital-signs",
        "GET /r5/SubscriptionTopic?derived-or-self=http://a|1&_summary=true&_elements=a",
        "GET /r4/$dead-letters?kind=x&_count=2",
        'DELETE /r4/Observation/a\nIf-Match: W/"2"',
        "PATCH /r4/Observation/a\nContent-Type: application/json-patch+json\n\n[]",
        "GET /r5/Subscription/a/$stream\nAccept: text/event-stream\nLast-Event-ID: \u00b2",
        "OPTIONS *\nOrigin: http://a",
        "GET /r4//Observation//",
        "GET /r4/%2e%2e/%00",
        "GET /metrics",
        "GET /nothing",
    ],
    """
    /r4/ /r4b/ /r5/ Observation Subscription /$status /$events /$stream /_history/ /_search ?_format=json
    If-Match: If-None-Match: If-None-Exist: Prefer: Accept: Content-Type: Idempotency-Key: handling=lenient
    handling=strict W/" * %00 %ff ;charset= ;q=0 &_count=
    """,
    max_bytes=800,
)
