"""The OperationDefinitions hold what FHIR demands of each, and no operation has the parameters of another."""

import re
from collections import Counter

import pytest

from broker.fhir.operation import Operation
from broker.fhir.operation_definitions import OPERATIONS, operation_definitions
from broker.model.release import Release

_USABLE_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,254}")
"""Invariant opd-0 (R4), cnl-0 (R5)."""
_PAGED = {"dead-letters", "redrive-dead-letters", "discard-dead-letters"}


@pytest.mark.parametrize("release", list(Release))
def test_names_can_be_identifiers(release: Release) -> None:
    definitions = operation_definitions(release, version="1", base="http://b.example", at_ms=0)
    names = [str(each.fields["name"]) for each in definitions]
    assert [name for name in names if not _USABLE_NAME.fullmatch(name)] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.code)
def test_a_parameter_is_described_once_for_each_use_and_release(operation: Operation) -> None:
    counts = Counter(
        (each.name, each.use, release) for each in operation.parameters for release in each.releases
    )
    assert [key for key, count in counts.items() if count > 1] == []


def test_operations_on_dead_letters_name_the_next_page() -> None:
    by_code = {operation.code: operation for operation in OPERATIONS}
    for code in _PAGED:
        assert "next" in {each.name for each in by_code[code].parameters if each.use == "out"}, code
