"""Registered clients with their keys, scopes and limits, and the broker's own keys. An administrator disables
a client, enables it again, and revokes a key.
"""

from broker.console.page import Answer, PageRequest, SeeOther, View
from broker.console.rendering import path_of
from broker.services.client_details import ClientDetailsService
from broker.services.clients import ClientService
from broker.services.own_keys import OwnKeyService

PAGE = 100


class ClientPages:
    """The rows for `/clients`."""

    def __init__(
        self, clients: ClientService, details: ClientDetailsService, own_keys: OwnKeyService
    ) -> None:
        self._clients = clients
        self._details = details
        self._own_keys = own_keys

    async def list(self, request: PageRequest) -> Answer:
        """By id, and the broker's own keys."""
        after = request.query.get("after", "")
        page, following = await self._details.page(request.principal, after, PAGE)
        values = {
            "registrations": page,
            "after": after,
            "next": following,
            "own_keys": self._own_keys.all(request.principal),
        }
        return View("clients.html", values)

    async def show(self, request: PageRequest) -> Answer:
        """One client."""
        details = await self._details.read(request.principal, request.params["id"])
        return View("client.html", {"details": details, "client": details.registration.client})

    async def set_access(self, request: PageRequest) -> Answer:
        """Disables or enables."""
        client_id, is_disabled = request.params["id"], request.form.get("access") == "disabled"
        etag = request.form.get("etag", "")
        await self._clients.set_disabled(request.principal.tenant, client_id, etag, is_disabled=is_disabled)
        notice = f"{client_id} may get tokens again."
        if is_disabled:
            notice = f"{client_id} is disabled. Its tokens are refused within 5 seconds."
        verb = "disable" if is_disabled else "enable"
        return SeeOther(f"/clients{path_of(client_id)}", notice, detail=f"{verb} client {client_id}")

    async def revoke_key(self, request: PageRequest) -> Answer:
        """Removes one of several keys."""
        client_id, kid = request.params["id"], request.form.get("kid", "")
        etag = request.form.get("etag", "")
        await self._clients.revoke_key(request.principal.tenant, client_id, kid, etag)
        notice = f"The key {kid} is revoked: nothing that it signs is accepted any more."
        return SeeOther(f"/clients{path_of(client_id)}", notice, detail=f"change client {client_id}")
