"""`listen --forward-to`: passes each notification on to an application, whose answer becomes that of the
listener.
"""

from collections.abc import Callable

import httpx

from broker.testing.subscriber import Answer

_TIMEOUT_S = 25.0
_UNAVAILABLE = 502
_PASSED_BACK = ("retry-after",)


class Forwarder:
    """Posts to one URL. If the application does not answer, the broker gets 502 and tries again later."""

    def __init__(self, client: httpx.AsyncClient, url: str, report: Callable[[str], None]) -> None:
        self._client = client
        self._url = url
        self._report = report

    async def __call__(self, body: bytes) -> Answer:
        headers = {"Content-Type": "application/fhir+json"}
        try:
            response = await self._client.post(self._url, content=body, headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            self._report(f"{self._url} does not answer ({reason}); the broker gets {_UNAVAILABLE}")
            return Answer(_UNAVAILABLE)
        self._report(f"{self._url} answered {response.status_code}")
        passed = {name: response.headers[name] for name in _PASSED_BACK if name in response.headers}
        return Answer(response.status_code, passed)
