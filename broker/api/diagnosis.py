"""`$explain` and `$dry-run`: what a Subscription makes of changes, without changing anything."""

from collections.abc import Mapping

from broker.api.dry_run import read_count, render_dry_run
from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.explain import render_explanation
from broker.api.named_values import Value, read, resource
from broker.errors import Issue, Malformed
from broker.model.change import Interaction
from broker.model.resource import Resource
from broker.services.accessed import entity_of
from broker.services.dry_run import DryRunService
from broker.services.explain import ExplainReport, ExplainService, HypotheticalChange


class DiagnosisHandlers:
    """The rows for `$explain` and `$dry-run`."""

    def __init__(self, explain: ExplainService, dry_run: DryRunService) -> None:
        self._explain = explain
        self._dry_run = dry_run

    async def explain(self, request: FhirRequest) -> FhirResponse:
        """Why one change, stored or hypothetical, is or is not an event of one Subscription."""
        values = read(request.resource, ("resource", "reference", "previous", "interaction"))
        if ("resource" in values) is ("reference" in values):
            text = "Send either a resource, or a reference to a stored one."
            raise Malformed(Issue("required", text, "resource"))
        if "reference" in values:
            report = await self._explain_stored(request, values)
        else:
            report = await self._explain_hypothetical(request, values)
        accessed = (entity_of(report.change.current),) if "reference" in values else ()
        return FhirResponse(body=render_explanation(report), accessed=accessed)

    async def _explain_stored(self, request: FhirRequest, values: Mapping[str, Value]) -> ExplainReport:
        for name in ("previous", "interaction"):
            if name in values:
                text = f"A stored version has its own {name}. Leave out {name}, or send a resource."
                raise Malformed(Issue("invalid", text, name))
        return await self._explain.explain_stored(
            request.principal, request.params["id"], values["reference"].text
        )

    async def _explain_hypothetical(self, request: FhirRequest, values: Mapping[str, Value]) -> ExplainReport:
        change = HypotheticalChange(
            resource(values, "resource"),
            resource(values, "previous") if "previous" in values else None,
            _interaction(values.get("interaction")),
        )
        return await self._explain.explain_hypothetical(
            request.principal, request.release, request.params["id"], change
        )

    async def dry_run(self, request: FhirRequest) -> FhirResponse:
        """Which of the newest changes a Subscription that is not registered would have received."""
        values = read(request.resource, ("subscription", "count"))
        count = read_count(values.get("count"))
        subscription: Resource = resource(values, "subscription")
        report = await self._dry_run.run(request.principal, request.release, subscription, count)
        accessed = [entity_of(change.current) for change in report.matches]
        return FhirResponse(body=render_dry_run(report), accessed=accessed)


def _interaction(value: Value | None) -> Interaction | None:
    if value is None:
        return None
    try:
        return Interaction(value.text)
    except ValueError:
        allowed = ", ".join(Interaction)
        raise Malformed(
            Issue("value", f"interaction takes {allowed}, not {value.text!r}.", "interaction")
        ) from None
