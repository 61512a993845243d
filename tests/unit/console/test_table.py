"""The table of pages: what the access check, the navigation and the audit trail rely on."""

from dataclasses import fields
from typing import Any

from broker.console.page import Audited, Exempt
from broker.console.services import ConsoleServices
from broker.console.table import pages

_NO_SERVICES: Any = dict.fromkeys(field.name for field in fields(ConsoleServices))
TABLE = pages(ConsoleServices(**_NO_SERVICES))


def test_every_row_needs_a_principal_and_only_the_start_page_no_more_than_that() -> None:
    assert [row.path for row in TABLE if row.access.is_public] == []
    assert [row.path for row in TABLE if row.access.is_authenticated] == ["/"]


def test_every_action_is_audited_and_a_page_that_is_not_has_a_reason() -> None:
    for row in TABLE:
        assert row.method in {"GET", "POST"}
        if row.method == "POST":
            assert isinstance(row.audit, Audited), row.path
        elif isinstance(row.audit, Exempt):
            assert row.audit.reason, row.path


def test_no_two_rows_are_the_same_and_actions_are_not_in_the_navigation() -> None:
    assert len({(row.method, row.path) for row in TABLE}) == len(TABLE)
    titled = [row for row in TABLE if row.title]
    assert all(row.method == "GET" and "{" not in row.path for row in titled)
    assert len({row.title for row in titled}) == len(titled)
