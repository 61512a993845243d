"""All scenarios of the campaign, and the short selection that the test suite runs."""

from collections.abc import Sequence

from broker.failpoints import NAMES, Name
from tests.faults.campaign import Scenario
from tests.faults.scenarios import ehrs, endpoints, killing, nodes, orderly, stores

_ONE_SERVER: Sequence[Scenario] = (
    *(
        Scenario(
            f"killed-at-failpoints-{nth}",
            f"SIGKILL at each of {len(NAMES)} failpoints, at pass {nth}",
            killing.at_every_failpoint(nth),
        )
        for nth in (1, 7, 50)
    ),
    Scenario(
        "store-fails-at-failpoints",
        "the store's answer is lost at each failpoint",
        killing.failing_at_every_failpoint("unavailable"),
    ),
    Scenario("random-kills", "SIGKILL of random processes, repeatedly", killing.random_kills),
    Scenario("paused-dispatcher", "a dispatcher is suspended past its lease", killing.paused_dispatcher),
    Scenario("paused-matcher", "a matcher is suspended past its lease", killing.paused_matcher),
    Scenario("store-killed", "SIGKILL of the store under 500 changes/s", stores.killed_under_load),
    Scenario("store-paused", "the store is suspended for 10 s", stores.paused),
    Scenario("store-full", "the store is out of memory", stores.out_of_memory),
    Scenario("answers-lost", "answers of the store are lost", stores.answers_lost),
    Scenario("connections-cut", "all connections to the store are cut", stores.connections_cut),
    Scenario("answers-delayed", "answers of the store are 300 ms late", stores.answers_delayed),
    Scenario("same-change-at-once", "the same change ten times at once", stores.same_change_at_once),
    Scenario("endpoints", "endpoints that fail in every curable way", endpoints.failing_endpoints),
    Scenario("endpoint-refuses", "an endpoint that refuses connections", endpoints.refused_connections),
    Scenario("endpoint-tls", "an endpoint whose TLS is broken", endpoints.broken_tls),
    Scenario("endpoint-dead-for-long", "an endpoint that is down for many events", endpoints.dead_endpoint),
    Scenario("endpoint-name-gone", "an endpoint with an unresolvable name", endpoints.unresolvable_name),
    Scenario("endpoint-gone", "an endpoint that answers 410", endpoints.answering_410),
    *(
        Scenario(
            f"endpoint-in-error-{name}",
            f"an endpoint that answers {name} until it is repaired",
            endpoints.in_error(name, behaviour),
        )
        for name, behaviour in endpoints.INCURABLE.items()
    ),
    Scenario(
        "ehrs",
        "SIGKILL at each place of an attempt to write to EHRs, which fail and restart",
        ehrs.killed_while_writing(),
    ),
    Scenario("rolling-restart", "SIGTERM to each of three processes of each role", orderly.rolling_restart),
    Scenario("wrong-clocks", "the clock of one process is ten minutes wrong", orderly.wrong_clocks),
)
_NEEDS_ONE_SERVER = frozenset(
    {"store-killed", "store-paused", "store-full", "answers-lost", "connections-cut", "answers-delayed"}
)
"""Faults of a single server. The nodes of a Cluster have their own scenarios."""
_NODES: Sequence[Scenario] = (
    Scenario(
        "node-killed",
        "SIGKILL of a primary, its replica takes over",
        nodes.repeated(nodes.kill_primary, 1, 5),
    ),
    Scenario("nodes-killed", "SIGKILL of all nodes at once", nodes.repeated(nodes.kill_all_nodes, 1, 5)),
    Scenario(
        "node-paused",
        "a primary is suspended for 10 s and replaced",
        nodes.repeated(nodes.suspend_primary, 1, 3),
    ),
    Scenario("nodes-full", "the primaries are out of memory", nodes.repeated(nodes.fill_primaries, 1, 3)),
    Scenario(
        "connections-cut",
        "all connections to the nodes are cut",
        nodes.repeated(nodes.cut_node_connections, 2, 20),
    ),
    Scenario("slots-moved", "slots move key by key", nodes.repeated(nodes.move_slots, 2, 12)),
)
SCENARIOS: Sequence[Scenario] = (
    *_ONE_SERVER,
    *(
        Scenario(f"cluster-{scenario.name}", f"on a Cluster: {scenario.title}", scenario.run, on_cluster=True)
        for scenario in (*(each for each in _ONE_SERVER if each.name not in _NEEDS_ONE_SERVER), *_NODES)
    ),
)
_SELECTED_FAILPOINTS: Sequence[Name] = (
    "intake.after-append",
    "matcher.between-appends",
    "matcher.before-ack",
    "delivery.built",
    "delivery.answered",
    "delivery.after-commit",
)
SELECTION: Sequence[Scenario] = (
    Scenario(
        "killed-at-some-failpoints",
        "SIGKILL at some failpoints",
        killing.at_every_failpoint(1, _SELECTED_FAILPOINTS),
    ),
    Scenario(
        "ehrs-at-some-failpoints",
        "SIGKILL at some places of an attempt to write to EHRs",
        ehrs.killed_while_writing(("delivery.sent", "delivery.before-commit")),
    ),
    *(
        scenario
        for scenario in _ONE_SERVER
        if scenario.name in {"store-killed", "answers-lost", "paused-dispatcher", "endpoints"}
    ),
)
"""The scenarios that the test suite runs, each in its short size."""
