"""What the workers of `serve --workers` get from their supervisor."""

import pytest

from broker.app import allowed_networks
from broker.cli.supervisor import _environment
from broker.settings import Settings


def test_workers_may_notify_what_their_supervisor_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROKER_EGRESS_ALLOW", raising=False)
    for settings in (Settings(), Settings.from_environment({"BROKER_EGRESS_ALLOW": "10.0.0.0/8 fd00::/8"})):
        environment = _environment(settings, "unix:///store.sock", "/metrics")
        given = {name: text for name, text in environment.items() if name == "BROKER_EGRESS_ALLOW"}
        assert allowed_networks(Settings.from_environment(given)) == allowed_networks(settings)
    outside = _environment(Settings(host="0.0.0.0"), "unix:///store.sock", "/metrics")
    assert "BROKER_EGRESS_ALLOW" not in outside
