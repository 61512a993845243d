"""Replaces sealed texts while brokers write: `fhir-broker key-ring` seals them again under another key."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

_PASSES = 5
"""What is written under the old key while the store is read is found by the next pass."""


class Sealed(Protocol):
    """A sealed text, and where it stands."""

    @property
    def text(self) -> bytes: ...


T = TypeVar("T", bound=Sealed)


async def change_all(
    read: Callable[[], AsyncIterator[T]],
    change: Callable[[T], bytes],
    replace: Callable[[T, bytes], Awaitable[int]],
) -> int:
    """Replaces each text that `change` changes, until a pass finds none; how many were replaced. `replace`
    returns 0 where the text is another one by now.
    """
    changed = 0
    for _ in range(_PASSES):
        found = 0
        async for sealed in read():
            text = change(sealed)
            if text != sealed.text:
                found += 1
                changed += await replace(sealed, text)
        if not found:
            break
    return changed
