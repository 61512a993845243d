"""Resolves a host and keeps the addresses that the allowance permits: the address that was judged is the one
connected to (R-455).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from broker.egress.addresses import Allowance, literal

_log = structlog.get_logger(__name__)
_LOOKUP_THREADS = 32

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses; raises OSError if there are none."""


class HostUnknown(OSError):  # noqa: N818 an expected answer
    """The name has no address."""


class AddressesRefused(OSError):  # noqa: N818 an expected answer
    """None of the name's addresses may be notified."""


class Resolver:
    """Looks names up in threads of its own, so that a slow name server delays nothing else."""

    def __init__(self, allowance: Allowance, resolve: Resolve | None = None) -> None:
        self._allowance = allowance
        self._resolve = resolve or self._look_up
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")

    async def permitted(self, scheme: str, host: str, port: int) -> list[str]:
        """The permitted addresses of `host`, in the resolver's order.

        Raises `HostUnknown`, or `AddressesRefused` if the name has addresses and none is permitted.
        """
        if literal(host) is not None:
            return self._keep_permitted(scheme, host, [host])
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA can't encode
            raise HostUnknown(f"{host} can't be resolved") from error
        if not addresses:
            raise HostUnknown(f"{host} can't be resolved")
        return self._keep_permitted(scheme, host, addresses)

    def _keep_permitted(self, scheme: str, host: str, addresses: list[str]) -> list[str]:
        judged = {
            str(ip): self._allowance.permits(ip, scheme) for ip in map(literal, addresses) if ip is not None
        }
        permitted = [address for address, reason in judged.items() if reason is None]
        if not permitted:
            _log.warning("addresses refused", host=host, reasons=sorted(filter(None, judged.values())))
            raise AddressesRefused(f"{host} has no address that may be notified")
        return permitted

    def close(self) -> None:
        """Lets lookups under way end without being waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str, port: int) -> list[str]:
        rows = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in rows))
