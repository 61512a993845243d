"""The file of the servers that may be written to is read strictly."""

from pathlib import Path

import pytest

from broker.channels.write_targets import WriteTargets
from broker.errors import ConfigurationError
from broker.fhir.server_writes import DeleteMode, WriteMode
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.release import Release

GOOD = """
[[target]]
name = "ehr"
base = "https://ehr.example.org/fhir/"
types = ["Observation"]

[[target]]
name = "ehr"
tenant = "clinic"
base = "https://clinic.example.org/fhir"
release = "r5"
mode = "update"
deletes = "send"
identifier_system = "urn:broker"
types = ["Observation", "Device"]
lookups = ["Patient", "Device"]
creates = ["Device"]
profiles = ["http://hl7.org/fhir/StructureDefinition/vitalsigns"]
max_entries = 20
max_bundle_bytes = 200000

[[target]]
name = "once"
preset = "create-only"
base = "http://localhost:8080/fhir"
types = ["Observation"]
max_entries = 5
"""


def read(folder: Path, text: str) -> WriteTargets:
    path = folder / "targets.toml"
    path.write_text(text)
    return WriteTargets.read(path)


def test_a_target_belongs_to_a_tenant(tmp_path: Path) -> None:
    targets = read(tmp_path, GOOD)
    own = targets.find(DEFAULT_TENANT, "fhir-write:ehr")
    other = targets.find(Tenant("clinic"), "fhir-write:ehr")
    assert own is not None
    assert other is not None
    assert (own.base, other.base) == ("https://ehr.example.org/fhir", "https://clinic.example.org/fhir")
    assert targets.find(Tenant("clinic"), "fhir-write:once") is None
    assert targets.find(DEFAULT_TENANT, "https://ehr.example.org/fhir") is None
    assert targets.find(DEFAULT_TENANT, None) is None


def test_members_that_are_left_out_come_from_the_preset(tmp_path: Path) -> None:
    targets = read(tmp_path, GOOD)
    general = targets.find(DEFAULT_TENANT, "fhir-write:ehr")
    once = targets.find(DEFAULT_TENANT, "fhir-write:once")
    whole = targets.find(Tenant("clinic"), "fhir-write:ehr")
    assert general is not None
    assert once is not None
    assert whole is not None
    assert (general.rules.release, general.rules.mode) == (Release.R4, WriteMode.CONDITIONAL_UPDATE)
    assert (once.rules.mode, once.max_entries) == (WriteMode.CONDITIONAL_CREATE, 5)
    assert (whole.rules.mode, whole.rules.deletes) == (WriteMode.UPDATE, DeleteMode.SEND)
    assert (whole.max_entries, whole.max_bundle_bytes, whole.creates) == (20, 200_000, ("Device",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "ehr"', 'name = "a b"'),
        ('name = "ehr"', ""),
        ('base = "https://ehr.example.org/fhir/"', 'base = "ftp://ehr.example.org"'),
        ('base = "https://ehr.example.org/fhir/"', 'base = "https://me:pw@ehr.example.org"'),
        ('base = "https://ehr.example.org/fhir/"', 'base = "https://ehr.example.org/fhir?x=1"'),
        ('base = "https://ehr.example.org/fhir/"', 'base = "https://ehr.example.org/f hir"'),
        ('base = "https://ehr.example.org/fhir/"', 'base = "https://ehr.example.org:0/"'),
        ('types = ["Observation"]', "types = []"),
        ('types = ["Observation"]', 'types = ["observation"]'),
        ('types = ["Observation"]', 'types = "Observation"'),
        ('mode = "update"', 'mode = "overwrite"'),
        ('release = "r5"', 'release = "r3"'),
        ("max_entries = 20", "max_entries = 0"),
        ("max_entries = 20", "max_entries = true"),
        ('lookups = ["Patient", "Device"]', 'lookups = ["Patient"]'),
        ('preset = "create-only"', 'preset = "magic"'),
        ('tenant = "clinic"', 'tenant = "default"'),
        ('deletes = "send"', 'unknown = "x"'),
        ("[[target]]", "[target]"),
        ("[[target]]", "="),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigurationError):
        read(tmp_path, GOOD.replace(old, new))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        WriteTargets.read(tmp_path / "none.toml")
