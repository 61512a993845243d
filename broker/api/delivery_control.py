"""`$delivery`, `$retry` and `$send-test`: what operators ask about the delivery of one Subscription, and do
with it.
"""

import structlog

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import flag, group, instant, render, text, whole
from broker.api.operation_input import read_input
from broker.services.delivery_control import DeliveryControl, DeliveryReport

_log = structlog.get_logger(__name__)


class DeliveryControlHandlers:
    """The rows for the delivery of one Subscription."""

    def __init__(self, control: DeliveryControl) -> None:
        self._control = control

    async def report(self, request: FhirRequest) -> FhirResponse:
        """What is delivered, what waits, and what failed last."""
        read_input(request, set())
        report = await self._control.report(request.principal, request.params["id"])
        return FhirResponse(body=_render_report(report))

    async def retry(self, request: FhirRequest) -> FhirResponse:
        """Attempts the failed notification now, instead of at its scheduled time."""
        read_input(request, set())
        report = await self._control.retry(request.principal, request.params["id"])
        if report.is_retried:
            _log.info("a failed notification is attempted now", path=request.path)
        return FhirResponse(
            body=render(flag("retried", value=report.is_retried), text("reason", report.reason))
        )

    async def send_test(self, request: FhirRequest) -> FhirResponse:
        """Sends a heartbeat and answers with its outcome."""
        read_input(request, set())
        report = await self._control.send_test(request.principal, request.params["id"])
        return FhirResponse(
            body=render(
                flag("delivered", value=report.is_delivered),
                text("reason", report.reason),
                whole("duration-ms", report.duration_ms),
            )
        )


def _render_report(report: DeliveryReport) -> bytes:
    record = report.record
    subscription = record.subscription
    return render(
        text("id", subscription.id),
        text("release", subscription.release, "Code"),
        text("status", subscription.status, "Code"),
        text("events", str(record.count)),
        text("delivered", str(record.cursor)),
        text("waiting", str(report.waiting)),
        whole("attempts", record.attempts),
        instant("next-attempt", report.next_attempt_ms),
        instant("activated", record.activated_ms),
        *(
            group("error", text("code", error.code, "Code"), text("text", error.text))
            for error in record.errors
        ),
    )
