"""The registered clients: those of files, and those that administrators register in the store.

`find` is what authentication and delivery ask. A client id is registered once, whatever the tenant; where a
file has the id of a client in the store, the file holds. A process reads a client of the store whenever it is
asked for it, so that a change holds in every process at once.
"""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from broker.clock import Clock, to_instant
from broker.errors import Conflict, Issue, NotFound, OAuthError, PreconditionFailed
from broker.model.change import Tenant
from broker.recently_used import RecentlyUsed
from broker.security.client_directory import ClientDirectory
from broker.security.clients import (
    KEYS_SINCE,
    Client,
    Registration,
    UrlProblems,
    decode_registration,
    parse_client,
)
from broker.security.issuers import IssuerFile
from broker.store.client_changes import ClientChanges
from broker.store.registered_clients import RegisteredClients

_FOR_READING = frozenset({"source", KEYS_SINCE})
"""Members that the broker adds to a registration; what a client sends in them is ignored."""
_MAX_PARSED, _MAX_UNUSED_S = 10_000, 3_600.0


class ClientService:
    """One a process. A method that writes has the tenant of an administrator, who sees no other tenant's
    clients. Each raises `StoreUnavailable`.
    """

    def __init__(
        self,
        files: ClientDirectory,
        stored: RegisteredClients,
        issuers: IssuerFile,
        changes: ClientChanges,
        url_problems: UrlProblems,
        clock: Clock,
    ) -> None:
        self._files = files
        self._stored = stored
        self._issuers = issuers
        self._changes = changes
        self._url_problems = url_problems
        self._clock = clock
        self._parsed: RecentlyUsed[bytes, Registration] = RecentlyUsed(_MAX_PARSED, _MAX_UNUSED_S)

    async def find(self, client_id: str) -> Client | None:
        """As `ClientRegistry` says; also of an external issuer."""
        if self._issuers.claims_id(client_id):
            return self._issuers.client(client_id)
        file = self._files.find(client_id)
        if file is not None:
            return file.client
        text = await self._stored.find(client_id)
        return None if text is None else self._read(text).client

    async def reload(self) -> None:
        """Reads the files of clients and issuers again. Raises `ConfigurationError`: then all stay as they
        were.

        Nothing is awaited after they were replaced, so a caller that clears a cache then does it before
        anybody finds the new ones.
        """
        registrations = await asyncio.to_thread(self._files.read)
        issuers = await asyncio.to_thread(self._issuers.read)
        self._files.replace(registrations)
        self._issuers.replace(issuers)

    async def count(self) -> int:
        """How many clients are registered."""
        return len(self._files) + await self._stored.count()

    async def all(self, tenant: Tenant) -> list[Registration]:
        """The clients of the tenant by their ids."""
        stored = await self._stored.all()
        registrations = {client_id: self._read(text) for client_id, text in stored.items()}
        registrations |= {each.client.client_id: each for each in self._files.all()}
        return [
            registration
            for _, registration in sorted(registrations.items())
            if registration.client.tenant == tenant
        ]

    async def get(self, tenant: Tenant, client_id: str) -> Registration:
        """Raises `NotFound`."""
        registration, _ = await self._find(tenant, client_id)
        return registration

    async def add(self, tenant: Tenant, members: Any) -> Registration:
        """Registers a client; one without `client_id` is given one. Raises `OAuthError` for a registration
        that is not valid, and `Conflict` for an id that is registered.
        """
        if isinstance(members, dict):
            members = {"client_id": str(uuid.uuid4())} | members
        registration = self._checked(tenant, members, {})
        client_id = registration.client.client_id
        # a repeated write of the same registration succeeds, so the id is looked up before
        is_taken = self._files.find(client_id) is not None or await self._stored.find(client_id) is not None
        if is_taken or not await self._stored.replace(client_id, None, _text(registration)):
            raise Conflict(Issue("duplicate", f"{client_id!r} is registered already. Choose another id."))
        await self._changes.announce()
        return registration

    async def replace(self, tenant: Tenant, client_id: str, members: Any, etag: str) -> Registration:
        """Replaces a registration. Raises what `add` and `remove` raise."""
        before, stored = await self._changeable(tenant, client_id, etag)
        registration = self._checked(tenant, members, keys_since(before))
        if registration.client.client_id != client_id:
            raise OAuthError("invalid_client_metadata", "client_id: not that of the URL")
        await self._write(client_id, stored, _text(registration))
        return registration

    async def set_disabled(
        self, tenant: Tenant, client_id: str, etag: str, *, is_disabled: bool
    ) -> Registration:
        """Takes the access of a client away, or gives it back. Raises what `replace` raises."""
        members = (await self.get(tenant, client_id)).members
        return await self.replace(tenant, client_id, {**members, "disabled": is_disabled}, etag)

    async def revoke_key(self, tenant: Tenant, client_id: str, kid: str, etag: str) -> Registration:
        """Removes one of the keys of a client. Raises what `replace` raises, `NotFound` for a key that it
        does not have, and `Conflict` for the last one.
        """
        members = (await self.get(tenant, client_id)).members
        keys = members.get("jwks", {}).get("keys", ())
        kept = [key for key in keys if key["kid"] != kid]
        if len(kept) == len(keys):
            raise NotFound(Issue("not-found", f"{client_id!r} has no key {kid!r}. Read it again."))
        if not kept:
            text = f"It is the last key of {client_id!r}. Register another key first, or disable the client."
            raise Conflict(Issue("conflict", text))
        return await self.replace(tenant, client_id, {**members, "jwks": {"keys": kept}}, etag)

    async def remove(self, tenant: Tenant, client_id: str, etag: str) -> None:
        """Raises `NotFound`, `Conflict` for a client of a file, and `PreconditionFailed` unless the
        registration has the entity tag, where one is given.
        """
        _, stored = await self._changeable(tenant, client_id, etag)
        await self._write(client_id, stored, None)

    async def _find(self, tenant: Tenant, client_id: str) -> tuple[Registration, bytes | None]:
        """The registration, with the text in the store if it is not that of a file."""
        registration, text = self._files.find(client_id), None
        if registration is None:
            text = await self._stored.find(client_id)
            registration = None if text is None else self._read(text)
        if registration is None or registration.client.tenant != tenant:
            raise NotFound(Issue("not-found", f"No client {client_id!r} is registered in your tenant."))
        return registration, text

    async def _changeable(self, tenant: Tenant, client_id: str, etag: str) -> tuple[Registration, bytes]:
        registration, text = await self._find(tenant, client_id)
        if text is None:
            reason = (
                f"{client_id!r} is registered by a file of BROKER_CLIENTS_DIR. "
                "Change the file, and send SIGHUP."
            )
            raise Conflict(Issue("conflict", reason))
        if etag and etag != etag_of(registration):
            raise _changed_meanwhile(client_id)
        return registration, text

    async def _write(self, client_id: str, stored: bytes, text: bytes | None) -> None:
        if not await self._stored.replace(client_id, stored, text):
            raise _changed_meanwhile(client_id)
        await self._changes.announce()

    def _checked(self, tenant: Tenant, members: Any, since: Mapping[str, str]) -> Registration:
        """The registration of what an administrator sent, and since when it has each key: `since` has the
        keys of before.
        """
        if isinstance(members, dict):
            members = {"tenant": tenant} | {
                name: value for name, value in members.items() if name not in _FOR_READING
            }
        try:
            registration = Registration(parse_client(members, self._url_problems), members)
        except ValueError as error:
            raise OAuthError("invalid_client_metadata", f"{error}.") from error
        client_id = registration.client.client_id
        if self._issuers.claims_id(client_id):
            text = f"client_id: {client_id!r} begins like those of an issuer of BROKER_ISSUERS."
            raise OAuthError("invalid_client_metadata", text)
        if registration.client.tenant != tenant:
            text = "tenant: an administrator registers clients of its own tenant; use a file for others."
            raise OAuthError("invalid_client_metadata", text)
        if not registration.client.keys:
            return registration
        now = to_instant(self._clock.now_ms())
        dated = {key.kid: since.get(key.kid, now) for key in registration.client.keys}
        return Registration(registration.client, {**registration.members, KEYS_SINCE: dated})

    def _read(self, text: bytes) -> Registration:
        """What was valid when it was stored. Its URL is judged when it is used."""
        registration = self._parsed.get(text)
        if registration is None:
            members = decode_registration(text)
            registration = Registration(parse_client(members, lambda _: ()), members)
            self._parsed.put(text, registration)
        return registration


def keys_since(registration: Registration) -> Mapping[str, str]:
    """When each key of a client was registered, by its `kid`. Not known of a client of a file, nor of keys
    that were registered by an earlier release.
    """
    since: Mapping[str, str] = {} if registration.is_file else registration.members.get(KEYS_SINCE, {})
    return since


def shown(registration: Registration) -> Mapping[str, Any]:
    """The registration as the API shows it."""
    return {**registration.members, "source": "file" if registration.is_file else "store"}


def etag_of(registration: Registration) -> str:
    """Changes with every change of the registration."""
    return f'"{hashlib.sha256(_text(registration)).hexdigest()[:32]}"'


def _text(registration: Registration) -> bytes:
    return json.dumps(registration.members).encode()


def _changed_meanwhile(client_id: str) -> PreconditionFailed:
    text = f"The registration of {client_id!r} was changed meanwhile. Read it again."
    return PreconditionFailed(Issue("conflict", text))
