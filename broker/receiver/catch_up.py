"""Fetches events from the broker with `$events`: those that never arrived."""

import re

import httpx

from broker.receiver.ledger import ReceiverError
from broker.receiver.notifications import ReceivedNotification, read_notification

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_JSON = {"Accept": "application/fhir+json"}


class CatchUpFailed(ReceiverError):  # noqa: N818 named after the condition
    """The broker did not answer, or refused. The notification has to be sent again."""


class CatchUp:
    """Asks the broker at a FHIR base, for example `https://broker.example/r4`.

    The base is the receiver's own setting. Of what a notification says, only the id of its Subscription gets
    into the URL, so that a forged notification cannot send the receiver, and its access token, elsewhere.
    `client` has what the broker wants of a client: authentication, time limits, authorities of TLS.
    """

    def __init__(self, base: str, client: httpx.AsyncClient) -> None:
        self._base = base.rstrip("/")
        self._client = client

    async def events(self, subscription: str, first: int, last: int) -> ReceivedNotification:
        """The events of a range, both inclusive; the broker may answer with the oldest of it only.

        Raises `CatchUpFailed`.
        """
        subscription_id = subscription.rpartition("/")[2]
        # dots alone would be a step in the path
        if not _ID.fullmatch(subscription_id) or not subscription_id.strip("."):
            raise CatchUpFailed(f"{subscription[:200]!r} names no Subscription.")
        url = f"{self._base}/Subscription/{subscription_id}/$events"
        numbers = {"eventsSinceNumber": str(first), "eventsUntilNumber": str(last)}
        try:
            response = await self._client.get(url, params=numbers, headers=_JSON)
        except httpx.HTTPError as error:
            raise CatchUpFailed(f"{url}: no answer ({type(error).__name__})") from error
        if response.status_code != 200:
            raise CatchUpFailed(f"{url} answers {response.status_code}: {response.text[:200]}")
        try:
            return read_notification(response.content)
        except (KeyError, ValueError, TypeError) as error:
            raise CatchUpFailed(f"{url} answers with no notification") from error
