"""JSON and tables of commands: the same values, and nothing is cut."""

import json
from dataclasses import dataclass

import pytest
from rich.console import Console

from broker.cli import output
from broker.cli.output import cell, print_record, print_rows, print_table

UUID = "0b0f9b0a-7a57-4f0e-9c0e-3d0c8d7a6d11"


@dataclass(frozen=True)
class Row:
    id: str
    next_attempt: str | None
    events: int
    error: list[str]
    stored: bool = True


ROWS = [
    Row(UUID, None, 3, ["first " + "long text " * 30, "[red]markup[/] is text"]),
    Row("b", "2025-03-01T08:00:00Z", 0, [], stored=False),
]


def printed(capsys: pytest.CaptureFixture[str], *, as_json: bool, rows: list[Row] = ROWS) -> str:
    print_rows(rows, Row, "subscription", as_json=as_json, wide=False)
    return capsys.readouterr().out


def test_json_and_table_have_the_same_names_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    table, objects = printed(capsys, as_json=False), json.loads(printed(capsys, as_json=True))
    assert [set(each) for each in objects] == [set(Row.__annotations__)] * 2
    for name in objects[0]:
        assert name.replace("_", " ") in table
    for each in objects:
        for content in each.values():
            assert all(line.rstrip() in table for line in cell(content).splitlines())


def test_a_record_has_the_same_values_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    print_record(ROWS[0], as_json=True, wide=False)
    values = json.loads(capsys.readouterr().out)
    print_record(ROWS[0], as_json=False, wide=False, json_only="stored")
    table = capsys.readouterr().out
    for name, content in values.items():
        assert (name.replace("_", " ") in table) is (name != "stored")
        assert name == "stored" or all(line.rstrip() in table for line in cell(content).splitlines())


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    table = printed(capsys, as_json=False)
    assert "…" not in table
    assert any(UUID in line and "long text " * 30 in line for line in table.splitlines())


@pytest.mark.parametrize("width", [20, 60, 80, 110])
def test_a_narrow_terminal_wraps_and_cuts_nothing(width: int) -> None:
    terminal = Console(width=width, record=True, force_terminal=True, no_color=True)
    print_table(terminal, ("id", "error"), [(UUID, "http://example.org/" + "x" * 100)])
    text = terminal.export_text()
    assert (UUID in text) is (width > 2 * len(UUID))
    assert "…" not in text
    assert text.count("x") == 101, "one is in example.org"
    assert all(len(line) <= width for line in text.splitlines())


def test_wide_ignores_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "30")
    assert output.console(wide=False).width == 30
    assert output.console(wide=True).width > 10_000


@pytest.mark.parametrize(
    ("rows", "last"), [([], "0 subscriptions"), (ROWS[:1], "1 subscription"), (ROWS, "2 subscriptions")]
)
def test_the_count_is_singular_or_plural(
    capsys: pytest.CaptureFixture[str], rows: list[Row], last: str
) -> None:
    assert printed(capsys, as_json=False, rows=rows).splitlines()[-1] == last
    assert json.loads(printed(capsys, as_json=True, rows=rows)) is not None
