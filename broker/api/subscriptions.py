"""Create, read, update, patch, delete and search of Subscription."""

from collections.abc import AsyncIterator
from functools import partial

from broker.api.exchange import FhirRequest, FhirResponse, id_of_update, is_not_modified, version_headers
from broker.api.preconditions import search_of_create
from broker.api.searchsets import searchset
from broker.api.write_responses import deleted, written
from broker.model.audit import AuditEntity
from broker.model.principal import Principal
from broker.model.subscription import Subscription
from broker.services.conditional_subscriptions import ConditionalSubscriptions
from broker.services.search import Search
from broker.services.search_criteria import SearchCriteria, search_criteria
from broker.services.subscription_fields import SUBSCRIPTION_FIELDS
from broker.services.subscriptions import Registered, SubscriptionService


class SubscriptionHandlers:
    """The rows for Subscription."""

    def __init__(self, subscriptions: SubscriptionService, conditional: ConditionalSubscriptions) -> None:
        self._subscriptions = subscriptions
        self._conditional = conditional

    async def create(self, request: FhirRequest) -> FhirResponse:
        """201 with the accepted Subscription; 200 for a repetition under the same Idempotency-Key, and for
        one that meets If-None-Exist.
        """
        criteria = search_of_create(request, "Subscription", SUBSCRIPTION_FIELDS[request.release])
        if criteria is None:
            registered = await self._subscriptions.create(
                request.principal,
                request.release,
                request.resource,
                request.idempotency_key,
                requester=request.requester,
            )
        else:
            registered = await self._conditional.create(
                request.principal,
                request.release,
                request.resource,
                criteria,
                requester=request.requester,
            )
        return self._respond(request, registered)

    async def update_match(self, request: FhirRequest) -> FhirResponse:
        """Replaces the Subscription that meets the criteria of the URL, or creates one; 412 for several."""
        registered = await self._conditional.update(
            request.principal,
            request.release,
            request.resource,
            _criteria(request),
            request.condition,
            requester=request.requester,
        )
        return self._respond(request, registered)

    async def delete_match(self, request: FhirRequest) -> FhirResponse:
        """Deletes the one Subscription that meets the criteria; 204 also for none, 412 for several."""
        await self._conditional.delete(
            request.principal, _criteria(request), request.condition, requester=request.requester
        )
        return deleted(request)

    async def update(self, request: FhirRequest) -> FhirResponse:
        """Replaces the Subscription or creates it under that id; the handshake runs again (R-160)."""
        registered = await self._subscriptions.update(
            request.principal,
            request.release,
            id_of_update(request),
            request.resource,
            condition=request.condition,
            requester=request.requester,
        )
        return self._respond(request, registered)

    async def patch(self, request: FhirRequest) -> FhirResponse:
        """Applies a patch to the Subscription as the base shows it; the result is checked as an update."""
        registered = await self._subscriptions.patch(
            request.principal,
            request.release,
            request.params["id"],
            request.patch,
            condition=request.condition,
            requester=request.requester,
        )
        return self._respond(request, registered)

    async def patch_match(self, request: FhirRequest) -> FhirResponse:
        """Patches the one Subscription that meets the criteria; 404 for none, 412 for several."""
        registered = await self._conditional.patch(
            request.principal,
            request.release,
            request.patch,
            _criteria(request),
            request.condition,
            requester=request.requester,
        )
        return self._respond(request, registered)

    def _respond(self, request: FhirRequest, registered: Registered) -> FhirResponse:
        subscription = registered.subscription

        async def send_handshake() -> None:
            await self._subscriptions.send_handshake(subscription)

        headers = _headers(subscription)
        if registered.is_new:
            headers["Location"] = request.url(
                f"Subscription/{subscription.id}/_history/{subscription.version}"
            )
        response = written(
            request,
            201 if registered.is_created else 200,
            request.adapter.render_subscription(subscription),
            headers,
            registered.warnings,
        )
        shown = (
            () if registered.is_new else (AuditEntity("Subscription", subscription.id, subscription.version),)
        )
        return response._replace(
            after=send_handshake if registered.awaits_handshake else None, accessed=shown
        )

    async def read(self, request: FhirRequest) -> FhirResponse:
        """The Subscription in the release of the base, whatever release it was registered in."""
        record = await self._subscriptions.get(request.principal, request.params["id"])
        headers = _headers(record.subscription)
        if is_not_modified(request, record.subscription.version, record.subscription.updated_ms):
            return FhirResponse(304, headers=headers)
        return FhirResponse(200, request.adapter.render_subscription(record.subscription).text, headers)

    async def read_version(self, request: FhirRequest) -> FhirResponse:
        """The current version; the broker stores no other."""
        subscription_id, version = request.params["id"], request.params["version"]
        record = await self._subscriptions.get_version(request.principal, subscription_id, version)
        subscription = record.subscription
        body = request.adapter.render_subscription(subscription).text
        return FhirResponse(200, body, _headers(subscription))

    async def delete(self, request: FhirRequest) -> FhirResponse:
        """204. Deliveries and retries end at once (R-158)."""
        await self._subscriptions.delete(
            request.principal,
            request.params["id"],
            condition=request.condition,
            requester=request.requester,
        )
        return deleted(request)

    async def search(self, request: FhirRequest) -> FhirResponse:
        """By the search parameters of the release (R-388, R-389)."""
        principal = request.principal
        return await searchset(
            request,
            "Subscription",
            SUBSCRIPTION_FIELDS[request.release],
            partial(self._candidates, principal),
            request.adapter.render_subscription,
            partial(self._subscriptions.page, principal) if principal.is_admin else None,
        )

    async def _candidates(
        self, principal: Principal, search: Search[Subscription]
    ) -> AsyncIterator[Subscription]:
        async for record in self._subscriptions.all(principal, search.stored_texts):
            yield record.subscription


def _criteria(request: FhirRequest) -> SearchCriteria[Subscription]:
    return search_criteria(request.query.multi_items(), SUBSCRIPTION_FIELDS[request.release])


def _headers(subscription: Subscription) -> dict[str, str]:
    return version_headers(subscription.version, subscription.updated_ms)
