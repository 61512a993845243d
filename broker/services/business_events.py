"""Reports business events: a producer says what happened to a resource in codes of its own, such as an ADT
code.

An event that was reported is durable (R-050..R-052). A repetition under the same idempotency key is one
event; the key is remembered with the focus, so a repetition names the same focus.
"""

from broker.errors import Issue, RequestError
from broker.ingest.intake import Intake
from broker.ingest.requests import ChangeRequest
from broker.model.audit import Requester
from broker.model.change import VersionKey
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import Coding


class BusinessEventService:
    """Business events about resources of the principal's tenant."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def report(
        self,
        principal: Principal,
        release: Release,
        codings: tuple[Coding, ...],
        focus: tuple[str, str],
        idempotency_key: str = "",
        address: str = "",
    ) -> VersionKey:
        """Records that `codings` happened to the resource (type, id); the version the event is about.

        Raises `Unprocessable` for a focus that is not stored.
        """
        resource_type, resource_id = focus
        admission = await self._intake.admit(
            ChangeRequest(
                tenant=principal.tenant,
                release=release,
                op="event",
                type=resource_type,
                id=resource_id,
                idempotency_key=f"event:{idempotency_key}" if idempotency_key else "",
                events=codings,
                requester=Requester(principal.client_id, address),
            )
        )
        version = admission.accepted.key.version if admission.accepted else 0
        return VersionKey(principal.tenant, resource_type, resource_id, version)

    async def store_focus(
        self,
        principal: Principal,
        release: Release,
        resource: Resource,
        idempotency_key: str = "",
        address: str = "",
    ) -> tuple[str, str]:
        """Stores the focus that came with the report; its type and id. A repetition finds what the first call
        stored.
        """
        resource_type, resource_id = resource.type, resource.id
        try:
            admission = await self._intake.admit(
                ChangeRequest(
                    tenant=principal.tenant,
                    release=release,
                    op="put" if resource_id else "create",
                    type=resource_type,
                    id=resource_id,
                    resource=resource,
                    idempotency_key=f"event-focus:{idempotency_key}" if idempotency_key else "",
                    requester=Requester(principal.client_id, address),
                )
            )
        except RequestError as error:
            raise type(error)(*(_of_resource(issue) for issue in error.issues)) from None
        return resource_type, admission.accepted.key.id if admission.accepted else admission.existing_id


def _of_resource(issue: Issue) -> Issue:
    return Issue(issue.code, f"resource: {issue.text}", issue.expression or "resource", issue.severity)
