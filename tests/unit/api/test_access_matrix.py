"""The access matrix: every row of every table, for every kind of client.

The cells are rows by releases, resource types, scopes, roles and tenants. What a row needs is written down in
`access_rows.py`, and what a client may do is decided here without the code of the broker.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest
from starlette.datastructures import QueryParams

from broker.api.dispatch import Interaction, InteractionTable
from broker.api.exchange import FhirRequest
from broker.api.interactions import interaction_table
from broker.api.routes import OAUTH, ROUTES
from broker.errors import Forbidden, Unauthenticated
from broker.model.access import Access, authorize
from broker.model.change import Tenant
from broker.model.principal import ANONYMOUS, Principal, PrincipalRole
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.scopes import parse_scopes
from tests.unit.api.access_rows import NEEDS, ROUTE_NEEDS

_handlers: Any = MagicMock()
TYPES = ("Observation", "Patient")
LETTERS = ("c", "r", "u", "d", "s", "rs", "us", "ds", "cruds")
ROLES = [
    frozenset[str](),
    *(frozenset({str(role)}) for role in PrincipalRole),
    frozenset(map(str, PrincipalRole)),
]
TENANTS = (Tenant("default"), Tenant("other"))


class Held(NamedTuple):
    """A scope by its parts."""

    context: str
    type: str
    letters: str
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.context}/{self.type}.{self.letters}{self.suffix}"


def keyed_rows() -> Iterator[tuple[str, Interaction]]:
    seen: Counter[str] = Counter()
    for row in interaction_table(_handlers).rows:
        name = f"{row.method} {row.path}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}", row


TABLE = dict(keyed_rows())


def scopes_about(resource_type: str) -> list[tuple[Held, ...]]:
    """None, one, and two scopes; about the type, all types, and another one; and those that give nothing."""
    other = "Device"
    single = [Held("system", name, letters) for name in (resource_type, "*", other) for letters in LETTERS]
    return [
        (),
        *((held,) for held in single),
        (Held("user", "*", "cruds"), Held("patient", "*", "cruds")),
        (Held("system", resource_type, "rs", "?_tag=a"), Held("system", "*", "rs", "?_security=R")),
        (Held("system", resource_type, "u"), Held("system", "*", "s")),
        (Held("system", resource_type, "s"), Held("system", other, "crud")),
    ]


def is_allowed(needs: str, held: tuple[Held, ...], roles: frozenset[str], *, is_client: bool) -> bool:
    if needs == "public":
        return True
    if not is_client:
        return False
    if needs == "client":
        return True
    kind, _, role = needs.partition(" ")
    if kind == "role":
        return role in roles
    resource_type, _, letters = needs.rstrip("?").partition(".")
    return all(
        any(
            each.context == "system"
            and each.type in {resource_type, "*"}
            and letter in each.letters
            and (needs.endswith("?") or not each.suffix)
            for each in held
        )
        for letter in letters
    )


def request_of(row: Interaction, release: Release, resource_type: str, principal: Principal) -> FhirRequest:
    path = row.path.format(type=resource_type, id="x1", version="1", file="0")
    query = QueryParams()
    return FhirRequest(principal, release, "http://b", row.method, path, {}, query, {}, Resource(b""))


def outcome(table: InteractionTable, request: FhirRequest) -> str:
    try:
        table.resolve(request)
    except Unauthenticated:
        return "401"
    except Forbidden:
        return "403"
    return "allowed"


def test_every_row_is_in_the_matrix_and_has_an_access() -> None:
    assert list(TABLE) == list(NEEDS)
    assert all(isinstance(row.access, Access) for row in TABLE.values())
    routes = {f"{row.method} {row.path}": row for row in (*ROUTES, *OAUTH)}
    assert list(routes) == list(ROUTE_NEEDS)
    assert all(isinstance(row.access, Access) for row in routes.values())


@pytest.mark.parametrize("name", NEEDS)
def test_each_cell_of_a_row_is_as_written_down(name: str) -> None:
    row = TABLE[name]._replace(only=None)
    if "{focus}" in NEEDS[name]:
        row = row._replace(type_of=lambda _: "Observation")
    table = InteractionTable(lambda _: [row])
    cells = 0
    for release, resource_type in itertools.product(Release, TYPES if "{type}" in row.path else TYPES[:1]):
        needs = NEEDS[name].format(type=resource_type, focus="Observation")
        about = needs.partition(".")[0] if "." in needs else resource_type
        assert outcome(table, request_of(row, release, resource_type, ANONYMOUS)) == (
            "allowed" if needs == "public" else "401"
        )
        for held, roles, tenant in itertools.product(scopes_about(about), ROLES, TENANTS):
            principal = Principal("c", tenant, parse_scopes(" ".join(map(str, held))), roles)
            expected = "allowed" if is_allowed(needs, held, roles, is_client=True) else "403"
            answer = outcome(table, request_of(row, release, resource_type, principal))
            assert answer == expected, (release, resource_type, held, roles)
            cells += 1
    assert cells >= 3 * 32 * 5 * 2


def test_each_cell_of_the_other_routes_is_as_written_down() -> None:
    for row in (*ROUTES, *OAUTH):
        needs = ROUTE_NEEDS[f"{row.method} {row.path}"]
        for held, roles, tenant in itertools.product(scopes_about("Observation"), ROLES, TENANTS):
            principal = Principal("c", tenant, parse_scopes(" ".join(map(str, held))), roles)
            expected = is_allowed(needs, held, roles, is_client=True)
            assert row.access.is_met_by(principal) is expected
        if needs != "public":
            with pytest.raises(Unauthenticated):
                authorize(ANONYMOUS, row.access)


@pytest.mark.parametrize("name", ["POST {type}", "POST Subscription"])
@pytest.mark.parametrize("letters", ["c", "cr", "cs", "crs", "cruds"])
def test_a_conditional_create_needs_to_search_and_to_read_too(name: str, letters: str) -> None:
    table = InteractionTable(lambda _: [TABLE[name]])
    principal = Principal("c", TENANTS[0], parse_scopes(f"system/*.{letters}"), frozenset())
    request = request_of(TABLE[name], Release.R5, "Patient", principal)
    conditional = "allowed" if {"r", "s"} <= set(letters) else "403"
    assert outcome(table, request) == "allowed"
    assert outcome(table, request._replace(headers={"if-none-exist": "identifier=a|b"})) == conditional
    assert outcome(table, request._replace(query=QueryParams("identifier=a|b"))) == conditional
