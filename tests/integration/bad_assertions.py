"""Client assertions and token requests that are refused, each wrong in one way."""

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker.security.private_keys import PrivateKey
from tests.integration.smart_broker import SmartBroker
from tests.smart_clients import key_of

CLIENT = "gateway"
Make = Callable[[SmartBroker], str]


def claims(**changed: Any) -> Make:
    """A good signature over changed claims; None leaves a claim out."""

    def make(smart: SmartBroker) -> str:
        values = {name: value(smart) if callable(value) else value for name, value in changed.items()}
        return signed(_header(), smart.claims(CLIENT, **values))

    return make


def header(**changed: Any) -> Make:
    """A good signature with a changed header; None leaves a member out."""

    def make(smart: SmartBroker) -> str:
        members = {name: value for name, value in (_header() | changed).items() if value is not None}
        return signed(members, smart.claims(CLIENT))

    return make


def signed(head: Mapping[str, Any], payload: Mapping[str, Any]) -> str:
    """By the key of the client. The library would refuse most of these."""
    text = f"{_encoded(head)}.{_encoded(payload)}"
    signature = jwt.get_algorithm_by_name("ES384").sign(text.encode(), key_of(CLIENT)._key)
    return f"{text}.{_encoded(signature)}"


def _header() -> dict[str, Any]:
    return {"alg": "ES384", "typ": "JWT", "kid": key_of(CLIENT).kid}


def _encoded(part: Mapping[str, Any] | bytes) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unsigned(algorithm: str) -> Make:
    def make(smart: SmartBroker) -> str:
        head = {"alg": algorithm, "typ": "JWT", "kid": key_of(CLIENT).kid}
        return f"{_encoded(head)}.{_encoded(smart.claims(CLIENT))}."

    return make


def by_secret(smart: SmartBroker) -> str:
    """HS384 with the public key as the secret, as for a verifier that takes any algorithm."""
    secret = json.dumps(dict(key_of(CLIENT).public_jwk)).encode()
    head = _encoded({"alg": "HS384", "typ": "JWT", "kid": key_of(CLIENT).kid})
    text = f"{head}.{_encoded(smart.claims(CLIENT))}"
    return f"{text}.{_encoded(hmac.digest(secret, text.encode(), 'sha384'))}"


def by_other_algorithm(smart: SmartBroker) -> str:
    """ES256 by a key of another curve, under the registered kid."""
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(smart.claims(CLIENT), key, "ES256", {"kid": key_of(CLIENT).kid})


def by_rsa_under_the_kid_of_an_ec_key(smart: SmartBroker) -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return jwt.encode(smart.claims(CLIENT), key, "RS384", {"kid": key_of(CLIENT).kid})


def by_a_foreign_key(smart: SmartBroker) -> str:
    return PrivateKey.generate().sign(smart.claims(CLIENT), {"kid": key_of(CLIENT).kid})


def by_the_key_of_another_client(smart: SmartBroker) -> str:
    return key_of("other").sign(smart.claims(CLIENT))


def with_changed_payload(smart: SmartBroker) -> str:
    head, _, signature = smart.assertion(CLIENT).split(".")
    return f"{head}.{_encoded(smart.claims(CLIENT, sub='root', iss='root'))}.{signature}"


def with_changed_signature(smart: SmartBroker) -> str:
    good = smart.assertion(CLIENT)
    return good[:-8] + ("AAAAAAAA" if not good.endswith("AAAAAAAA") else "BBBBBBBB")


def cut(smart: SmartBroker) -> str:
    return smart.assertion(CLIENT).rpartition(".")[0]


def with_a_payload_that_is_no_object(smart: SmartBroker) -> str:
    head, _, signature = smart.assertion(CLIENT).split(".")
    return f"{head}.{_encoded(b'[1]')}.{signature}"


def _base(smart: SmartBroker) -> str:
    return f"{smart.base_url}/r4"


def _now(offset_s: float) -> Callable[[SmartBroker], float]:
    return lambda _: int(time()) + offset_s


BAD_ASSERTIONS: Mapping[str, Make] = {
    "not a JWT": lambda _: "abc",
    "two parts": cut,
    "five parts": lambda smart: f"{smart.assertion(CLIENT)}.a.b",
    "no base64": lambda _: "%%%.%%%.%%%",
    "payload is a list": with_a_payload_that_is_no_object,
    "very long": lambda smart: smart.assertion(CLIENT, extra="x" * 9_000),
    "deeply nested": lambda smart: f"{_encoded(b'[' * 4_000)}.{_encoded(b'{}')}.AAAA",
    "alg none": unsigned("none"),
    "alg None in another case": unsigned("nOnE"),
    "alg ES384 without a signature": unsigned("ES384"),
    "a secret": by_secret,
    "ES256": by_other_algorithm,
    "another key type under the kid": by_rsa_under_the_kid_of_an_ec_key,
    "a foreign key": by_a_foreign_key,
    "the key of another client": by_the_key_of_another_client,
    "changed payload": with_changed_payload,
    "changed signature": with_changed_signature,
    "no kid": header(kid=None),
    "empty kid": header(kid=""),
    "unknown kid": header(kid="unknown"),
    "kid is a path": header(kid="../../etc/passwd"),
    "typ missing": header(typ=None),
    "typ at+jwt": header(typ="at+jwt"),
    "jku of nobody": header(jku="https://attacker.example/jwks.json"),
    "jku is no text": header(jku=["https://attacker.example"]),
    "crit": header(crit=["exp"]),
    "unknown crit": header(crit=["b64", "x"], x=1),
    "iss missing": claims(iss=None),
    "iss of an unknown client": claims(iss="nobody", sub="nobody"),
    "iss of another client": claims(iss="other", sub="other"),
    "iss of a disabled client": lambda smart: smart.assertion("disabled"),
    "iss is a lone surrogate": claims(iss="gateway\ud800", sub="gateway\ud800"),
    "iss is a number": claims(iss=7),
    "iss is a list": claims(iss=[CLIENT]),
    "sub missing": claims(sub=None),
    "sub is another": claims(sub="root"),
    "sub is a number": claims(sub=7),
    "aud missing": claims(aud=None),
    "aud is the FHIR base": claims(aud=_base),
    "aud is the broker": claims(aud=lambda smart: smart.base_url),
    "aud with a slash": claims(aud=lambda smart: f"{smart.token_url}/"),
    "aud in capitals": claims(aud=lambda smart: smart.token_url.upper()),
    "aud is another endpoint": claims(aud=lambda smart: f"{smart.base_url}/oauth/revoke"),
    "aud is an empty list": claims(aud=[]),
    "aud is an object": claims(aud={"url": "x"}),
    "exp missing": claims(exp=None),
    "exp in the past": claims(exp=_now(-60)),
    "exp in ten minutes": claims(exp=_now(600)),
    "exp in the year 9999": claims(exp=253_402_300_799),
    "exp is a fraction": claims(exp=_now(60.5)),
    "exp is a text": claims(exp="soon"),
    "exp is digits in a text": claims(exp=lambda _: str(int(time()) + 60)),
    "exp is a boolean": claims(exp=True),
    "exp is beyond all numbers": claims(exp=10**400),
    "nbf in the future": claims(nbf=_now(120)),
    "nbf is a text": claims(nbf="now"),
    "iat in the future": claims(iat=_now(120)),
    "jti missing": claims(jti=None),
    "jti empty": claims(jti=""),
    "jti is a number": claims(jti=7),
    "jti too long": claims(jti="j" * 257),
}

TOKEN = "3b6Wm8v0J8V1YxN0Xq1l9mYd3u5kX2sE7nQ4rT6wZ8A"
"""Looks like a token, and is none."""
BAD_CREDENTIALS: Mapping[str, Callable[[str, str], str]] = {
    "unknown": lambda good, _: f"Bearer {TOKEN}",
    "cut": lambda good, _: f"Bearer {good[:-1]}",
    "longer": lambda good, _: f"Bearer {good}A",
    "other case": lambda good, _: f"Bearer {good.swapcase()}",
    "twice": lambda good, _: f"Bearer {good}, Bearer {good}",
    "two words": lambda good, _: f"Bearer {good} {good}",
    "quoted": lambda good, _: f'Bearer "{good}"',
    "without a scheme": lambda good, _: good,
    "no token": lambda good, _: "Bearer",
    "basic": lambda good, _: f"Basic {base64.b64encode(good.encode()).decode()}",
    "DPoP": lambda good, _: f"DPoP {good}",
    "an assertion": lambda _, assertion: f"Bearer {assertion}",
    "digest": lambda good, _: "Bearer " + "0" * 64,
    "very long": lambda good, _: f"Bearer {'A' * 9_000}",
    "Latin-1": lambda good, _: f"Bearer {good}\xe9",
    "percent": lambda good, _: f"Bearer {good}%00",
    "newline escaped": lambda good, _: f"Bearer {good}\\n",
    "star": lambda good, _: "Bearer *",
    "undefined": lambda good, _: "Bearer undefined",
}
