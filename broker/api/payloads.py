"""How much of the resources a notification carries, as a part of the answers of `$explain` and `$dry-run`."""

from broker.api.named_values import Part, group, text
from broker.fhir.payload_elements import ElementLimits
from broker.model.subscription import PayloadContent


def payload(content: PayloadContent, limits: ElementLimits) -> list[Part]:
    """The content level, and with full-resource the elements of the types that are not sent whole."""
    shown = limits if content is PayloadContent.FULL_RESOURCE else {}
    return group(
        "payload",
        text("content", content, "Code"),
        *(_limit(resource_type, names) for resource_type, names in sorted(shown.items())),
    )


def _limit(resource_type: str, names: frozenset[str]) -> list[Part]:
    return group("limit", text("resource", resource_type), *(text("element", name) for name in sorted(names)))
