"""All definitions of our own for tests, and an example of each profile."""

from tests.unit.profiles.examples import Json
from tests.unit.profiles.own_examples import own_examples
from tests.unit.profiles.own_profiles import own_profiles
from tests.unit.profiles.own_structure_examples import structure_examples
from tests.unit.profiles.own_structures import structures


def own_definitions() -> list[Json]:
    return [*own_profiles(), *structures()]


def all_own_examples() -> dict[str, Json]:
    return own_examples() | structure_examples()
