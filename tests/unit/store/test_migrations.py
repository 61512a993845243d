"""Migrations lead from one schema version to the next without a gap."""

from broker.store.migrations import MIGRATIONS, SCHEMA_VERSION, Migration, path_from
from broker.store.protocol import Store


async def nothing(_: Store) -> None:
    pass


STEPS = [Migration(version, f"to {version}", nothing) for version in (3, 2, 4)]


def test_the_path_has_every_version_in_order() -> None:
    assert [step.version for step in path_from(1, 4, STEPS) or ()] == [2, 3, 4]
    assert [step.version for step in path_from(3, 4, STEPS) or ()] == [4]


def test_no_step_is_needed_from_the_same_version() -> None:
    assert path_from(4, 4, STEPS) == []


def test_there_is_no_path_over_a_missing_version() -> None:
    assert path_from(0, 4, STEPS) is None
    assert path_from(4, 5, STEPS) is None


def test_the_registered_migrations_end_at_this_schema_without_a_gap() -> None:
    versions = [migration.version for migration in MIGRATIONS]
    assert versions == list(range(SCHEMA_VERSION - len(versions) + 1, SCHEMA_VERSION + 1))
