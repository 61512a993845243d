"""The access check: which scopes and roles meet which access, and how a refusal reads."""

import pytest

from broker.errors import Forbidden
from broker.model.access import Access, authorize
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal, PrincipalRole
from broker.model.scopes import parse_scopes

CREATE = Access(scope="system/{type}.c")


def principal(*scopes: str, roles: tuple[str, ...] = ()) -> Principal:
    return Principal("client-1", DEFAULT_TENANT, parse_scopes(" ".join(scopes)), frozenset(roles))


@pytest.mark.parametrize(
    ("scope", "is_allowed"),
    [
        ("system/Observation.c", True),
        ("system/Observation.cruds", True),
        ("system/*.cud", True),
        ("system/Observation.ruds", False),
        ("system/Patient.c", False),
        ("user/Observation.c", False),
        ("system/Observation.c?category=vital-signs", False),
        ("system/Observation.write", True),
        ("system/Observation.read", False),
        ("", False),
    ],
)
def test_a_scope_covers_its_context_type_and_permissions(scope: str, is_allowed: bool) -> None:
    assert CREATE.is_met_by(principal(scope), "Observation") is is_allowed


def test_a_role_is_needed_whatever_the_scopes_are() -> None:
    admin = Access(role=PrincipalRole.ADMIN)
    assert admin.is_met_by(principal(roles=("admin",)))
    assert not admin.is_met_by(principal("system/*.cruds", roles=("operator",)))


def test_public_needs_nothing_and_the_open_principal_has_everything() -> None:
    assert Access.PUBLIC.is_met_by(principal())
    for access in (CREATE, *(Access(role=role) for role in PrincipalRole)):
        authorize(OPEN_PRINCIPAL, access, "Observation")


def test_a_refusal_names_the_client_and_what_it_lacks() -> None:
    with pytest.raises(Forbidden) as refused:
        authorize(principal(), CREATE, "Observation")
    assert "client-1" in str(refused.value)
    assert "system/Observation.c" in str(refused.value)
    with pytest.raises(Forbidden, match="the role operator"):
        authorize(principal(), Access(role=PrincipalRole.OPERATOR))


@pytest.mark.parametrize("parts", [{}, {"scope": "system/*.r", "is_public": True}])
def test_an_access_without_exactly_one_requirement_is_a_mistake(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Access(**parts)  # type: ignore[arg-type]  # wrong on purpose


def test_a_row_with_a_misspelled_scope_fails_instead_of_refusing_everyone() -> None:
    with pytest.raises(ValueError, match="cruds"):
        authorize(OPEN_PRINCIPAL, Access(scope="system/Observation.uc"))
