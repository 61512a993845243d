"""The interactions of a FHIR base, as one table: what the routes and the entries of a batch are looked up in."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.api import (
    binding,
    event_stream,
    metadata,
    operations,
    resources,
    subscriptions,
    topic_changes,
    topics,
)
from broker.api.business_events import report
from broker.api.dead_letters import dead_letters, discard_dead_letters, redrive_dead_letters
from broker.api.dry_run import dry_run
from broker.api.explaining import explain_change
from broker.api.responses import Handler
from broker.errors import Issue, MethodNotAllowed, NotFound


class Interaction(NamedTuple):
    """A method, a path below the base, and who answers. The first that fits is taken."""

    method: str
    path: str
    handler: Handler


INTERACTIONS: Sequence[Interaction] = (
    Interaction("GET", "metadata", metadata.read),
    Interaction("POST", "$business-event", report),
    Interaction("GET", "$dead-letters", dead_letters),
    Interaction("POST", "$dead-letters", dead_letters),
    Interaction("POST", "$redrive-dead-letters", redrive_dead_letters),
    Interaction("POST", "$discard-dead-letters", discard_dead_letters),
    Interaction("POST", "Subscription", subscriptions.create),
    Interaction("GET", "Subscription", subscriptions.find),
    Interaction("POST", "Subscription/_search", subscriptions.find_by_form),
    Interaction("GET", "Subscription/$status", operations.status_of_many),
    Interaction("POST", "Subscription/$status", operations.status_of_many),
    Interaction("GET", "Subscription/$get-ws-binding-token", binding.token_for_many),
    Interaction("POST", "Subscription/$get-ws-binding-token", binding.token_for_many),
    Interaction("POST", "Subscription/$dry-run", dry_run),
    Interaction("GET", "Subscription/{id}", subscriptions.read),
    Interaction("PUT", "Subscription/{id}", subscriptions.update),
    Interaction("DELETE", "Subscription/{id}", subscriptions.delete),
    Interaction("GET", "Subscription/{id}/_history/{version}", subscriptions.vread),
    Interaction("GET", "Subscription/{id}/$status", operations.status),
    Interaction("POST", "Subscription/{id}/$status", operations.status),
    Interaction("GET", "Subscription/{id}/$events", operations.events),
    Interaction("POST", "Subscription/{id}/$events", operations.events),
    Interaction("GET", "Subscription/{id}/$get-ws-binding-token", binding.token),
    Interaction("POST", "Subscription/{id}/$get-ws-binding-token", binding.token),
    Interaction("POST", "Subscription/{id}/$resend", operations.resend),
    Interaction("POST", "Subscription/{id}/$explain", explain_change),
    Interaction("GET", "Subscription/{id}/$stream", event_stream.stream),
    Interaction("GET", "SubscriptionTopic", topics.find),
    Interaction("POST", "SubscriptionTopic/_search", topics.find_by_form),
    Interaction("GET", "SubscriptionTopic/{id}", topics.read),
    Interaction("POST", "SubscriptionTopic", topic_changes.create),
    Interaction("PUT", "SubscriptionTopic/{id}", topic_changes.update),
    Interaction("DELETE", "SubscriptionTopic/{id}", topic_changes.delete),
    Interaction("GET", "Basic", topics.find_basic),
    Interaction("GET", "Basic/{id}", topics.read_basic),
    Interaction("POST", "Basic", topic_changes.create_basic),
    Interaction("PUT", "Basic/{id}", topic_changes.update_basic),
    Interaction("DELETE", "Basic/{id}", topic_changes.delete_basic),
    Interaction("POST", "Basic/_search", topics.find_basic_by_form),
    Interaction("GET", "OperationDefinition", metadata.find_operations),
    Interaction("POST", "OperationDefinition/_search", metadata.find_operations_by_form),
    Interaction("GET", "OperationDefinition/{id}", metadata.read_operation),
    Interaction("POST", "{type}", resources.create),
    Interaction("GET", "{type}", resources.refuse_search),
    Interaction("PUT", "{type}", resources.refuse_conditional),
    Interaction("DELETE", "{type}", resources.refuse_conditional),
    Interaction("POST", "{type}/_search", resources.refuse_search),
    Interaction("GET", "{type}/{id}", resources.read),
    Interaction("PUT", "{type}/{id}", resources.update),
    Interaction("DELETE", "{type}/{id}", resources.delete),
    Interaction("PATCH", "{type}/{id}", resources.refuse_conditional),
    Interaction("GET", "{type}/{id}/_history/{version}", resources.vread),
)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    # what starts with a dollar is an operation, never a type or an id
    return re.compile(
        "".join(f"(?P<{part}>[^/$][^/]*)" if n % 2 else re.escape(part) for n, part in enumerate(parts))
    )


_PATTERNS = [(interaction, _pattern(interaction.path)) for interaction in INTERACTIONS]
_LOOK_UP: dict[tuple[str, int], list[tuple[Interaction, re.Pattern[str]]]] = {}
"""Those of a method and a number of slashes: a path is held against a few patterns instead of all."""
for _interaction, _compiled in _PATTERNS:
    _LOOK_UP.setdefault((_interaction.method, _interaction.path.count("/")), []).append(
        (_interaction, _compiled)
    )
_REFUSALS: frozenset[Handler] = frozenset({resources.refuse_search, resources.refuse_conditional})


def allowed(path: str) -> Sequence[str]:
    """The methods that may be used on a path, for the Allow header that a 405 owes its reader."""
    first: dict[str, Handler] = {}
    for interaction, pattern in _PATTERNS:
        if pattern.fullmatch(path):
            first.setdefault(interaction.method, interaction.handler)
    return sorted(method for method, handler in first.items() if handler not in _REFUSALS)


def find_handler(method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
    """Who answers, and the path's parameters. Raises `NotFound` or `MethodNotAllowed`."""
    for interaction, pattern in _LOOK_UP.get((method, path.count("/")), ()):
        found = pattern.fullmatch(path)
        if found is not None:
            return interaction.handler, found.groupdict()
    if any(pattern.fullmatch(path) for _, pattern in _PATTERNS):
        raise MethodNotAllowed(Issue("not-supported", f"{method} is not supported on {path}"))
    if not path:
        raise MethodNotAllowed(
            Issue("not-supported", "the base takes a Bundle by POST; GET metadata tells what there is")
        )
    raise NotFound(Issue("not-found", f"there is nothing at {path!r}"))
