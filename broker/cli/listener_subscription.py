"""The subscription of a `listen` process: one for each endpoint, registered, signed if asked, watched until
its handshake succeeded, and deleted at the end.

It carries an identifier whose value is the endpoint. So a listener that is started again replaces what it
left, instead of adding a second subscription, and subscriptions of listeners that were killed can be found.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from broker.cli.broker_client import HEADERS, reason_of, root_url
from broker.errors import ConfigurationError
from broker.testing.registration import subscription

IDENTIFIER_SYSTEM = "http://fhir-broker.org/listen"
"""The system of the identifier; the value is the endpoint."""
_START_S = 60.0
_HANDSHAKE_S = 60.0
_RETRY_S = 0.5
_POLL_S = 0.1
_CONNECT_S = 10.0
_Fields = dict[str, Any]


class ListenerSubscription:
    """One subscription at one FHIR base. Errors that the user has to correct are `ConfigurationError`."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        base: str,
        topic: str,
        endpoint: str,
        content: str,
        filters: list[str],
        *,
        auth: httpx.Auth | None = None,
    ) -> None:
        self.id = ""
        self.may_exist = False
        """Whether the broker may have stored it; also true if its answer did not arrive."""
        self._is_off = False
        self._client = client
        self._auth = auth
        self._base = base
        self._endpoint = endpoint
        self._condition = {"identifier": f"{IDENTIFIER_SYSTEM}|{_escaped(endpoint)}"}
        self._document = subscription(
            base.rpartition("/")[2],
            topic,
            endpoint,
            content=content,
            filters=filters,
            identifier=(IDENTIFIER_SYSTEM, endpoint),
        )

    async def register(self, *, is_signed: bool = False) -> None:
        """Stores the subscription, in place of an earlier one of this endpoint. Retries while the broker does
        not answer, because it may still be starting.

        One that will be signed is off at first, so that nothing is sent before `sign`, but not one that an
        earlier listener left: its events would be lost.
        """
        deadline = time.monotonic() + _START_S
        while not self.id:
            self.may_exist = True
            try:
                self._is_off = is_signed and not await self._exists()
                document = self._document | ({"status": "off"} if self._is_off else {})
                stored = await self._request("PUT", "Subscription", self._condition, document)
            except httpx.TransportError as error:
                self.may_exist = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"The broker at {self._base} does not answer. Start it, or correct --broker."
                    ) from None
                await asyncio.sleep(_RETRY_S)
            except ConfigurationError:
                self.may_exist = False
                raise
            else:
                self.id = stored["id"]

    async def _exists(self) -> bool:
        """Whether an earlier listener of this endpoint left its subscription."""
        found = await self._request("GET", "Subscription", self._condition, release="r5")
        return bool(found.get("entry"))

    async def sign(self) -> str:
        """Has the broker make a secret, with which it signs from now on: it shows it this once."""
        path = f"Subscription/{self.id}/$rotate-secret"
        made = await self._request("POST", path, {"endPrevious": "true"})
        return str(next(part["valueString"] for part in made["parameter"] if part["name"] == "secret"))

    async def request(self) -> None:
        """Requests the subscription if it is off."""
        if self._is_off:
            await self._request("PUT", "Subscription", self._condition, self._document)

    async def until_active(self) -> None:
        """Waits until the broker says that the handshake succeeded."""
        deadline = time.monotonic() + _HANDSHAKE_S
        while True:
            bundle = await self._request("GET", f"Subscription/{self.id}/$status", release="r5")
            status = bundle["entry"][0]["resource"]
            if status["status"] == "active":
                return
            errors = "; ".join(error["text"] for error in status.get("error", ()))
            if status["status"] != "requested" or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"The broker could not reach {self._endpoint}: {errors or 'no handshake arrived'}. "
                    "Correct --endpoint, or allow the address with BROKER_EGRESS_ALLOW of the broker."
                )
            await asyncio.sleep(_POLL_S)

    async def delete(self) -> str:
        """Deletes the subscription by its identifier, which works without its id. '' if it is gone, otherwise
        the reason why it may remain.
        """
        try:
            await self._request("DELETE", "Subscription", self._condition)
        except httpx.TransportError as error:
            return f"the broker does not answer ({error})"
        except ConfigurationError as error:
            return str(error)
        return ""

    async def delete_abandoned(self) -> list[str]:
        """Deletes the subscriptions of listeners that were killed on this host, and returns their endpoints.
        A port that refuses connections has no listener any more.
        """
        condition = {"identifier": f"{IDENTIFIER_SYSTEM}|", "_count": "1000"}
        bundle = await self._request("GET", "Subscription", condition, release="r5")
        abandoned = []
        for entry in bundle.get("entry", ()):
            endpoint, subscription_id = str(entry["resource"].get("endpoint", "")), entry["resource"]["id"]
            is_here = urlsplit(endpoint).hostname == urlsplit(self._endpoint).hostname
            if is_here and endpoint != self._endpoint and await _is_refused(endpoint):
                await self._request("DELETE", f"Subscription/{subscription_id}")
                abandoned.append(endpoint)
        return abandoned

    async def _request(
        self,
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        body: _Fields | None = None,
        *,
        release: str = "",
    ) -> _Fields:
        """At the base of the subscription, or at that of another release."""
        base = f"{root_url(self._base)}/{release}" if release else self._base
        url = f"{base}/{path}"
        response = await self._client.request(
            method, url, params=parameters, json=body, headers=dict(HEADERS), auth=self._auth
        )
        if not response.is_success:
            raise ConfigurationError(
                f"The broker refused the request ({response.status_code}): {reason_of(response)}"
            )
        result: _Fields = response.json() if response.content else {}
        return result


async def _is_refused(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    except ConnectionRefusedError:
        return True
    except OSError:  # a time-out is one too: something may be there
        return False
    writer.close()
    return False


def _escaped(text: str) -> str:
    """The text as a value of a search parameter."""

    def characters() -> Iterator[str]:
        for character in text:
            yield f"\\{character}" if character in "\\,|$" else character

    return "".join(characters())
