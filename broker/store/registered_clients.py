"""The registrations of clients that are not registered by files: JSON texts by client id."""

from collections.abc import Mapping

from broker.store import keys
from broker.store.protocol import ScriptCall, Store, WriteConcern
from broker.store.replies import mapping_of


class RegisteredClients:
    """Each method raises `StoreUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, client_id: str) -> bytes | None:
        (text,) = await self._store.send([("HGET", keys.CLIENTS, client_id)])
        return None if text is None else bytes(text)

    async def all(self) -> Mapping[str, bytes]:
        """The texts by client id."""
        (reply,) = await self._store.send([("HGETALL", keys.CLIENTS)])
        return {client_id.decode(): bytes(text) for client_id, text in mapping_of(reply).items()}

    async def count(self) -> int:
        (number,) = await self._store.send([("HLEN", keys.CLIENTS)])
        return int(number)

    async def replace(self, client_id: str, stored: bytes | None, text: bytes | None) -> bool:
        """Writes `text` in the place of `stored`; None stands for no registration. Durable when it returns.

        False, and nothing is written, where another registration is stored.
        """
        call = ScriptCall("write_client", [keys.CLIENTS], [client_id, stored or b"", text or b""])
        return bool(await self._store.run(call, WriteConcern.DURABLE))
