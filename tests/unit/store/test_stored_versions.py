"""What a stored version says, and what is not taken for a version."""

import pytest

from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.store.bodies import UNSEALED
from broker.store.compression import compress
from broker.store.resources import read_stored, unpack

KEY = VersionKey(DEFAULT_TENANT, "Observation", "a", 3)
LISTS = b"urn:x|1\nPatient/ana:patient\n"
TAIL = b'},"status":"final"}'


def stored(interaction: str, rest: bytes) -> bytes:
    """A string as `lua/shared/resource.lua` describes it."""
    return b"3 r4 %s 1000 r-1 8 20\n%s" % (interaction.encode(), rest)


def test_a_version_has_its_text_behind_the_lists_of_the_indexes() -> None:
    version = unpack(KEY, read_stored(stored("update", LISTS + compress(TAIL))), UNSEALED)
    assert version.interaction is Interaction.UPDATE
    assert version.resource is not None
    assert version.resource.fields["status"] == "final"


def test_a_deletion_has_no_text() -> None:
    assert unpack(KEY, read_stored(stored("delete", LISTS)), UNSEALED).resource is None


@pytest.mark.parametrize("interaction", ["create", "update"])
@pytest.mark.parametrize("rest", [LISTS, LISTS[:5], b"", LISTS + b"garbage"])
def test_a_version_whose_text_is_missing_or_damaged_is_not_taken_for_a_deletion(
    interaction: str, rest: bytes
) -> None:
    with pytest.raises(ValueError, match="stored resource"):
        unpack(KEY, read_stored(stored(interaction, rest)), UNSEALED)
