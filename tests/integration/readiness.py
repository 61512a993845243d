"""Whether a broker of several workers stays ready."""

import asyncio

import httpx


async def first_not_ready(base: str, done: asyncio.Event) -> str:
    """The first answer that does not say ready until `done`; otherwise empty. A worker that has just been
    started may say that it still reads the subscriptions, and nothing else.
    """
    starting = {"subscription index": "reads the subscriptions"}
    while not done.is_set():
        async with httpx.AsyncClient(base_url=base, timeout=30, trust_env=False) as client:
            response = await client.get("/readyz")
            problems = {name: text for name, text in response.json()["parts"].items() if text != "ok"}
            if response.status_code != 200 and problems != starting:
                return response.text
    return ""
