"""The table of pages: what the access check, the navigation and the audit trail rely on."""

from unittest.mock import MagicMock

import pytest

from broker.api.interactions import interaction_table
from broker.console.page import Audited, Exempt
from broker.console.table import pages

TABLE = pages(MagicMock())
SAME_AS_API = {
    "GET /subscriptions": "GET Subscription",
    "GET /subscriptions/{id}": "GET Subscription/{id}",
    "GET /subscriptions/{id}/live": "GET Subscription/{id}/$delivery",
    "GET /subscriptions/{id}/events": "GET Subscription/{id}/$events",
    "GET /subscriptions/{id}/attempts": "GET Subscription/{id}/$attempts",
    "GET /subscriptions/{id}/attempts/{attempt}": "GET Subscription/{id}/$attempts",
    "GET /subscriptions/{id}/explain": "POST Subscription/{id}/$explain",
    "POST /subscriptions/{id}/explain": "POST Subscription/{id}/$explain",
    "GET /subscriptions/{id}/confirm/{action}": "PATCH Subscription/{id}",
    "POST /subscriptions/{id}/pause": "PATCH Subscription/{id}",
    "POST /subscriptions/{id}/activate": "PATCH Subscription/{id}",
    "POST /subscriptions/{id}/retry": "POST Subscription/{id}/$retry",
    "POST /subscriptions/{id}/send-test": "POST Subscription/{id}/$send-test",
    "POST /subscriptions/{id}/rotate-secret": "POST Subscription/{id}/$rotate-secret",
    "POST /subscriptions/{id}/resend": "POST Subscription/{id}/$resend",
    "GET /topics": "GET SubscriptionTopic",
    "GET /topics/{id}": "GET SubscriptionTopic/{id}",
    "GET /new-topic": "PUT SubscriptionTopic/{id}",
    "POST /new-topic/try": "POST SubscriptionTopic/$try",
    "POST /new-topic": "PUT SubscriptionTopic/{id}",
    "GET /dead-letters": "GET $dead-letters",
    "GET /quarantined-readings": "GET $dead-letters",
    "GET /dead-letters/{id}": "GET $dead-letters",
    "GET /dead-letters/{id}/payload": "GET $dead-letters",
    "POST /dead-letters/redrive": "POST $redrive-dead-letters",
    "POST /dead-letters/discard": "POST $discard-dead-letters",
    "POST /dead-letters/run": "POST $discard-dead-letters",
    "GET /audit": "GET AuditEvent",
    "GET /audit/verify": "GET AuditEvent/$verify-trail",
}
"""Rows by the interaction of the API that does the same."""


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


@pytest.mark.parametrize(("row", "interaction"), SAME_AS_API.items())
def test_a_page_needs_what_the_api_needs_for_the_same(row: str, interaction: str) -> None:
    page = next(each for each in TABLE if f"{each.method} {each.path}" == row)
    rows = interaction_table(MagicMock()).rows
    assert page.access == next(each for each in rows if f"{each.method} {each.path}" == interaction).access
