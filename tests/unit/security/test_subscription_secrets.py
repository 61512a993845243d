"""A Subscription that is stored has masks and sealed values; a mask that is sent back keeps a value."""

import json
from pathlib import Path
from typing import Any

import pytest

from broker.errors import Conflict, Unprocessable
from broker.fhir.header_masks import MASK, masked_document
from broker.fhir.release import adapter
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription
from broker.security.key_ring import KeyMissing, KeyRing, RingFile, RingKey, key_id_of
from broker.security.subscription_secrets import SigningSecret, SubscriptionSecrets
from broker.testing.registration import subscription

TOPIC = "http://example.org/topic"
ENDPOINT = "https://ehr.example/hook"
Headers = list[tuple[str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key-ring.json"
    key = RingKey.generate("2026-01-01T00:00:00.000Z")
    RingFile(key.id, (key,)).write(path)
    return path


@pytest.fixture
def secrets(path: Path) -> SubscriptionSecrets:
    return SubscriptionSecrets(KeyRing(path))


def draft(headers: Headers, release: str = "r5", endpoint: str = ENDPOINT) -> Subscription:
    document = json.dumps(subscription(release, TOPIC, endpoint, headers=headers)).encode()
    return adapter(Release(release)).parse_subscription(
        Resource(document), tenant=DEFAULT_TENANT, id="ward-3"
    )


@pytest.mark.parametrize("release", list(Release))
def test_a_concealed_subscription_shows_masks_only_and_opens_for_a_sender(
    secrets: SubscriptionSecrets, release: Release
) -> None:
    headers: Headers = [("Authorization", "Bearer hunter2"), ("X-A", "hunter3: b"), ("x-a", "hunter4")]
    concealed = secrets.conceal(draft(headers, release), None)
    assert b"hunter" not in repr(concealed).encode()
    for other in Release:
        rendered = adapter(other).render_subscription(concealed)
        assert b"hunter" not in rendered.text
        assert rendered.text.count(MASK.encode()) == 3
        assert b"Authorization" in rendered.text
    assert list(secrets.reveal(concealed).channel.headers) == headers


def test_masks_keep_the_values_of_the_same_name_in_their_order(secrets: SubscriptionSecrets) -> None:
    stored = secrets.conceal(draft([("X-A", "1"), ("X-B", "2"), ("x-a", "3")]), None)
    sent: Headers = [("X-B", MASK), ("X-A", "new"), ("X-A", MASK), ("X-C", "4")]
    concealed = secrets.conceal(draft(sent, "r4"), stored)
    revealed = secrets.reveal(concealed).channel.headers
    assert list(revealed) == [("X-B", "2"), ("X-A", "new"), ("X-A", "3"), ("X-C", "4")]
    again = secrets.conceal(draft(sent, "r4"), concealed)
    assert secrets.reveal(again).channel.headers == revealed


@pytest.mark.parametrize(
    ("headers", "endpoint", "element"),
    [
        ([("X-A", "1"), ("X-B", MASK)], ENDPOINT, "Subscription.parameter[1]"),
        ([("X-A", MASK), ("X-A", MASK)], ENDPOINT, "Subscription.parameter[1]"),
        ([("X-A", MASK)], "https://other.example/hook", "Subscription.parameter[0]"),
        ([("X-A", MASK)], "https://ehr.example:444/hook", "Subscription.parameter[0]"),
        ([("X-A", MASK)], "http://ehr.example/hook", "Subscription.parameter[0]"),
    ],
    ids=["no header of that name", "one value, two masks", "another host", "another port", "another scheme"],
)
def test_a_mask_without_a_value_is_refused(
    secrets: SubscriptionSecrets, headers: Headers, endpoint: str, element: str
) -> None:
    stored = secrets.conceal(draft([("X-A", "hunter2")]), None)
    with pytest.raises(Unprocessable) as refusal:
        secrets.conceal(draft(headers, endpoint=endpoint), stored)
    assert [issue.expression for issue in refusal.value.issues] == [element]
    assert "hunter2" not in str(refusal.value)


def test_a_mask_of_a_new_subscription_is_refused(secrets: SubscriptionSecrets) -> None:
    with pytest.raises(Unprocessable, match="Send the value"):
        secrets.conceal(draft([("X-A", MASK)], "r4"), None)


def test_another_path_of_the_same_origin_keeps_the_value(secrets: SubscriptionSecrets) -> None:
    stored = secrets.conceal(draft([("X-A", "1")]), None)
    concealed = secrets.conceal(draft([("X-A", MASK)], endpoint="https://EHR.example/other?x=1"), stored)
    assert secrets.reveal(concealed).channel.headers == (("X-A", "1"),)


def test_without_a_ring_only_subscriptions_without_secrets_are_accepted(secrets: SubscriptionSecrets) -> None:
    without = SubscriptionSecrets(None)
    plain = draft([])
    assert without.reveal(without.conceal(plain, None)) is plain
    assert without.open_signing(plain, b"") == ()
    with pytest.raises(Unprocessable, match="BROKER_KEY_RING"):
        without.conceal(draft([("X-A", "1")]), None)
    with pytest.raises(Conflict, match="BROKER_KEY_RING"):
        without.seal_signing(plain, [SigningSecret(b"x", 0)])
    with pytest.raises(KeyMissing):
        without.reveal(secrets.conceal(draft([("X-A", "1")]), None))


def test_resealing_moves_the_values_to_the_active_key_also_if_they_were_never_sealed(
    secrets: SubscriptionSecrets, path: Path
) -> None:
    unsealed = draft([("X-A", "1")], "r4")
    stored = secrets.conceal(unsealed, None)
    signing = secrets.seal_signing(stored, [SigningSecret(b"s", 5), SigningSecret(b"t", 0)])
    old = RingFile.read(path)
    new = RingKey.generate("2026-02-01T00:00:00.000Z")
    RingFile(new.id, (*old.keys, new)).write(path)
    resealed, again = secrets.reseal(stored), secrets.reseal(unsealed)
    resealed_signing = secrets.reseal_signing(stored, signing)
    sealed = (resealed.sealed_headers, again.sealed_headers, resealed_signing)
    assert {key_id_of(each) for each in sealed} == {new.id}
    RingFile(new.id, (new,)).write(path)
    assert secrets.reveal(resealed).channel.headers == secrets.reveal(again).channel.headers
    assert secrets.reveal(again).channel.headers == (("X-A", "1"),)
    assert secrets.open_signing(stored, resealed_signing) == (SigningSecret(b"s", 5), SigningSecret(b"t", 0))
    assert resealed.changed(sealed_headers=b"") == stored.changed(sealed_headers=b"")


def test_the_document_keeps_the_spelling_of_everything_else() -> None:
    def masked(release: Release, document: dict[str, Any]) -> bytes:
        return masked_document(release, json.dumps(document).encode())

    parameter = {"extension": [{"url": "http://a"}], "name": "X\u00e9", "value": "hunter2"}
    shown = json.loads(masked(Release.R5, {"maxCount": 1.50, "parameter": [parameter]}))
    assert shown == {"maxCount": 1.5, "parameter": [parameter | {"value": MASK}]}
    text = b'{"channel":{"x":1.50,"header":["X-A : a:b","X-B:"]},"y":2.0}'
    assert masked_document(Release.R4, text) == (
        b'{"channel":{"x":1.50,"header":["X-A : ********","X-B: ********"]},"y":2.0}'
    )
    assert masked_document(Release.R4, b'{"channel":{}}') == b'{"channel":{}}'
    assert masked_document(Release.R5, b'{"x":1}') == b'{"x":1}'
