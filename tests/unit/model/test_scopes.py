"""SMART scopes: how they are read and written, and what covers what."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.scopes import Scope, Scopes, alternatives, covers, parse_scopes

CONTEXTS = ("system", "user")
TYPES = ("Observation", "Patient", "Device")
TAGS = (("category", "a"), ("category", "b"), ("code", "x"))


@pytest.mark.parametrize(
    ("text", "permissions"),
    [
        ("system/Observation.rs", "rs"),
        ("system/*.cruds", "cruds"),
        ("system/Observation.read", "rs"),
        ("system/Observation.write", "cud"),
        ("system/*.*", "cruds"),
    ],
)
def test_a_scope_is_read_and_written_as_it_was(text: str, permissions: str) -> None:
    scope = Scope.parse(text)
    assert scope.permissions == permissions
    assert str(scope) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "openid",
        "system/Observation",
        "system/Observation.",
        "system/Observation.dus",
        "system/Observation.rr",
        "system/Observation.rsx",
        "system/observation.rs",
        "System/Observation.rs",
        "system/Observation.rs?",
        "system/Observation.rs?category",
        "system/Observation.rs?category=",
        "system/Observation.rs?category=a,",
        "system/Observation.rs?=a",
        "system/Observation.rs?category=a&",
        "system/Observation.read?category=a",
        "system/Observation.*?category=a",
        "system/Observation.rs\n",
        "system/Observation.rs?category=a\\,b",
        "encounter/Observation.rs",
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Scope.parse(text)


def test_a_restriction_has_parameters_and_alternatives_in_any_order() -> None:
    scope = Scope.parse("system/Observation.rs?code=http://loinc.org|8867-4&category=vital-signs,laboratory")
    assert scope.restrictions == (
        ("category", ("laboratory", "vital-signs")),
        ("code", ("http://loinc.org|8867-4",)),
    )
    other = Scope.parse(
        "system/Observation.rs?category=laboratory,vital-signs&code=http://loinc.org%7C8867-4"
    )
    assert scope == other
    assert str(scope) != str(other)


def test_the_scopes_of_a_client_add_up() -> None:
    granted = parse_scopes("system/Observation.r system/Observation.s system/Patient.read")
    assert covers(granted, Scope.parse("system/Observation.rs"))
    assert covers(granted, Scope.parse("system/Patient.rs"))
    assert not covers(granted, Scope.parse("system/Observation.crs"))
    assert not covers(granted, Scope.parse("system/*.rs"))


def test_a_restricted_scope_covers_only_what_is_as_narrow() -> None:
    granted = parse_scopes("system/Observation.rs?category=a,b system/Observation.r?category=c")
    assert covers(granted, Scope.parse("system/Observation.rs?category=a"))
    assert covers(granted, Scope.parse("system/Observation.r?category=a,b,c"))
    assert covers(granted, Scope.parse("system/Observation.s?category=b&code=x"))
    assert not covers(granted, Scope.parse("system/Observation.s?category=c"))
    assert not covers(granted, Scope.parse("system/Observation.r?code=x"))
    assert not covers(granted, Scope.parse("system/Observation.r"))


def test_the_alternatives_of_a_permission_are_the_restrictions_of_each_scope() -> None:
    granted = parse_scopes("system/Observation.rs?category=a system/*.r?_tag=b&_security=c user/*.rs")
    by_category, by_labels = (("category", ("a",)),), (("_security", ("c",)), ("_tag", ("b",)))
    assert set(alternatives(granted, "Observation", "r")) == {by_category, by_labels}
    assert alternatives(granted, "Observation", "s") == (by_category,)
    assert alternatives(granted, "Patient", "r") == (by_labels,)
    assert alternatives(granted, "Patient", "s") == ()
    assert alternatives(granted | parse_scopes("system/Patient.r"), "Patient", "r") == ((),)


def _text(
    context: str, resource_type: str, letters: tuple[str, ...], tags: tuple[tuple[str, str], ...]
) -> str:
    suffix = "&".join(f"{name}={value}" for name, value in tags)
    return f"{context}/{resource_type}.{''.join(letters)}" + (f"?{suffix}" if suffix else "")


SCOPES = st.builds(
    _text,
    st.sampled_from(CONTEXTS),
    st.sampled_from((*TYPES[:2], "*")),
    st.sampled_from([c for n in (1, 2, 5) for c in itertools.combinations("cruds", n)]),
    st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple),
)


def naive(scopes: Scopes) -> set[tuple[object, ...]]:
    """Everything that the scopes allow: which permission in which context on which resource, where a resource
    is a type and the tags that it has. A type that no scope names stands for all others.
    """
    resources = [
        (resource_type, frozenset(tags))
        for resource_type in TYPES
        for n in range(len(TAGS) + 1)
        for tags in itertools.combinations(TAGS, n)
    ]
    return {
        (scope.context, letter, resource)
        for scope in scopes
        for letter in scope.permissions
        for resource in resources
        if scope.resource_type in {"*", resource[0]}
        and all(any((name, value) in resource[1] for value in values) for name, values in scope.restrictions)
    }


@given(st.lists(SCOPES, min_size=1, max_size=4), SCOPES)
def test_coverage_is_that_of_the_resources_that_the_scopes_allow(granted: list[str], needed: str) -> None:
    granted_scopes, needed_scope = parse_scopes(" ".join(granted)), Scope.parse(needed)
    assert covers(granted_scopes, needed_scope) is (naive(frozenset({needed_scope})) <= naive(granted_scopes))
