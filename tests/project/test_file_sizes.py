"""No module grows beyond what a reader can keep in mind: above the limit it is split by subject."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("broker", "tests", "bench", "scripts")
MAX_LINES = 350


def test_no_module_is_longer_than_the_limit() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}
