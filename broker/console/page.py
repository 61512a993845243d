"""What a page is made of: its row in the table, the request that its handler gets, and what it answers
with.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from starlette.datastructures import QueryParams

from broker.model.access import Access
from broker.model.audit import AuditAction, AuditEntity, Requester
from broker.model.principal import Principal


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request that passed the access check. `params` are the variables of the path, `form` the fields of a
    POST, each with its values; `address` is where the browser is.
    """

    principal: Principal
    params: Mapping[str, str]
    query: QueryParams
    fields: Mapping[str, Sequence[str]]
    address: str

    @property
    def form(self) -> Mapping[str, str]:
        """The fields with their first value."""
        return {name: values[0] for name, values in self.fields.items()}

    def form_list(self, name: str) -> Sequence[str]:
        """All values of a field, none if it was not sent."""
        return self.fields.get(name, ())

    @property
    def requester(self) -> Requester:
        """Who asks, for audit entries that the store writes with the change."""
        return Requester(self.principal.client_id, self.address)


@dataclass(frozen=True, slots=True)
class View:
    """A template and its values. `accessed` and `detail` go into the audit entry."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    accessed: Sequence[AuditEntity] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SeeOther:
    """Sends the browser to a path of the console after an action; the page there shows the notice once."""

    path: str
    notice: str = ""
    accessed: Sequence[AuditEntity] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """Server-sent events: `compose` is asked every `every_s`, and a view that changed replaces the content of
    the element that connected.
    """

    compose: Callable[[], Awaitable[View]]
    every_s: float = 2.0
    accessed: Sequence[AuditEntity] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the browser saves under a name."""

    content: bytes
    media_type: str
    filename: str
    accessed: Sequence[AuditEntity] = ()
    detail: str = ""


Answer: TypeAlias = View | SeeOther | Events | Download
Handler: TypeAlias = Callable[[PageRequest], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Audited:
    """The row leaves an entry with this action."""

    action: AuditAction


@dataclass(frozen=True, slots=True)
class Exempt:
    """The row leaves no entry, for a reason."""

    reason: str


class Page(NamedTuple):
    """One row: a method, a path below `/console`, who answers, what a principal needs, and what the audit
    trail gets. A row with a title is in the navigation.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    audit: Audited | Exempt
    title: str = ""
