"""Whether a broker of several workers stays ready."""

import asyncio

import httpx

_EXPECTED = {
    ("subscription index", "reads the subscriptions"),
    ("store", "does not answer"),  # within the time it has: a busy machine needs longer now and then
}
"""What workers may say that have just been started, or that run on a busy machine."""


async def first_not_ready(base: str, done: asyncio.Event) -> str:
    """The first answer until `done` with a problem that is not expected; otherwise empty."""
    while not done.is_set():
        async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False) as client:
            response = await client.get("/readyz")
            problems = {(name, text) for name, text in response.json()["parts"].items() if text != "ok"}
            is_expected = bool(problems) and problems <= _EXPECTED
            if response.status_code != 200 and not is_expected:
                return response.text
    return ""
