"""Single faults are refused with the path of the element, harmless changes are not, and the verdicts agree
with those of HL7's validator.
"""

import pytest

from broker.model.release import Release
from tests.unit.profiles.alterations import alterations
from tests.unit.profiles.differences import read_differences
from tests.unit.profiles.examples import Json, examples, resource_of
from tests.unit.profiles.mutants import harmless, mutants
from tests.unit.profiles.own_releases import examples_of, validator_of
from tests.unit.profiles.verdicts import read_verdicts

OWN = {name: (release, fields) for release in Release for name, fields in examples_of(release).items()}
ALL = {name: (Release.R4, fields) for name, fields in examples().items()} | OWN
JUDGED = [name for name in ALL if any(each.startswith(f"{name}-") for each in read_verdicts())]
"""Those whose alterations HL7's validator has judged."""


def errors(fields: Json, release: Release = Release.R4) -> list[str]:
    """The paths of what refuses the resource."""
    issues = validator_of(release).validate(release, fields["resourceType"], resource_of(fields))
    return [issue.expression or "" for issue in issues if issue.severity in {"fatal", "error"}]


def is_at(path: str, expected: str) -> bool:
    """Whether the path is that of the element, or of a part of it."""
    return path == expected or path.startswith((f"{expected}.", f"{expected}["))


@pytest.mark.parametrize("name", examples())
def test_each_fault_is_refused_with_its_path_and_no_harmless_change_is(name: str) -> None:
    faults, changes = list(mutants(name, examples()[name])), list(harmless(name, examples()[name]))
    assert len(faults) >= 35
    assert len(changes) >= 20
    missed = [
        (each.name, each.path)
        for each in faults
        if not any(is_at(path, each.path) for path in errors(each.fields))
    ]
    assert missed == []
    assert [each.name for each in changes if errors(each.fields)] == []


@pytest.mark.parametrize("name", OWN)
def test_an_example_of_a_foreign_profile_passes(name: str) -> None:
    release, fields = OWN[name]
    assert errors(fields, release) == []


@pytest.mark.parametrize("name", JUDGED)
def test_the_verdicts_are_those_of_hl7s_validator(name: str) -> None:
    recorded, known = read_verdicts(), read_differences()
    release, example = ALL[name]
    judged = [(altered, fields) for altered, fields in alterations(name, example) if altered in recorded]
    assert len(judged) > 15
    wrong = [
        altered
        for altered, fields in judged
        if bool(errors(fields, release)) != recorded[altered]
        and not any(each.pattern.fullmatch(altered) for each in known)
    ]
    assert wrong == []


def test_every_known_difference_is_one() -> None:
    names = [
        variant.name
        for name, fields in examples().items()
        for variant in (*mutants(name, fields), *harmless(name, fields))
    ]
    names += read_verdicts()
    for each in read_differences():
        assert any(each.pattern.fullmatch(name) for name in names), each.reason
