"""Every scenario of the campaign, by name: what `python -m tests.faults` runs, and the suite a short selection of."""

from collections.abc import Sequence

from broker.failpoints import NAMES, Name
from tests.faults.campaign import Scenario
from tests.faults.scenarios import endpoints, killing, nodes, orderly, stores

_ONE_SERVER: Sequence[Scenario] = (
    *(
        Scenario(
            f"killed-at-failpoints-{nth}",
            f"SIGKILL at each of {len(NAMES)} places, when it is passed for the {nth}. time",
            killing.at_every_failpoint(nth),
        )
        for nth in (1, 7, 50)
    ),
    Scenario(
        "store-fails-at-failpoints",
        "the store's answer is lost at each place",
        killing.failing_at_every_failpoint("unavailable"),
    ),
    Scenario("random-kills", "SIGKILL of random processes, again and again", killing.random_kills),
    Scenario("paused-dispatcher", "a dispatcher stands still past its lease", killing.paused_dispatcher),
    Scenario("paused-matcher", "a matcher stands still past its lease", killing.paused_matcher),
    Scenario("store-killed", "SIGKILL of the store under 500 changes a second", stores.killed_under_load),
    Scenario("store-paused", "the store stands still for 10 s", stores.paused),
    Scenario("store-full", "the store is out of memory", stores.out_of_memory),
    Scenario("answers-lost", "answers of the store are lost", stores.answers_lost),
    Scenario("connections-cut", "all connections to the store are cut", stores.connections_cut),
    Scenario("answers-delayed", "answers of the store come 300 ms late", stores.answers_delayed),
    Scenario("same-change-at-once", "the same change ten times at once", stores.same_change_at_once),
    Scenario("endpoints", "endpoints that fail in every curable way", endpoints.misbehaving),
    Scenario("endpoint-refuses", "an endpoint that refuses connections", endpoints.refusing),
    Scenario("endpoint-tls", "an endpoint whose TLS is broken", endpoints.tls_broken),
    Scenario("endpoint-dead-for-long", "an endpoint that is dead for many events", endpoints.dead_for_long),
    Scenario("endpoint-name-gone", "an endpoint whose name can't be resolved", endpoints.name_gone),
    Scenario("endpoint-gone", "an endpoint that answers 410", endpoints.gone),
    *(
        Scenario(
            f"endpoint-in-error-{name}",
            f"an endpoint that answers {name} until it is mended",
            endpoints.in_error(name, behaviour),
        )
        for name, behaviour in endpoints.INCURABLE.items()
    ),
    Scenario("rolling-restart", "SIGTERM to each of three processes of each role", orderly.rolling_restart),
    Scenario("wrong-clocks", "the clock of one process is ten minutes wrong", orderly.wrong_clocks),
)
_NEEDS_ONE_SERVER = frozenset(
    {"store-killed", "store-paused", "store-full", "answers-lost", "connections-cut", "answers-delayed"}
)
"""They break the one server; what breaks a Cluster's nodes has scenarios of its own."""
_NODES: Sequence[Scenario] = (
    Scenario(
        "node-killed",
        "SIGKILL of a primary, its replica takes over",
        nodes.again_and_again(nodes.one_died, 1, 5),
    ),
    Scenario("nodes-killed", "SIGKILL of all nodes at once", nodes.again_and_again(nodes.all_died, 1, 5)),
    Scenario(
        "node-paused",
        "a primary stands still for 10 s and is replaced",
        nodes.again_and_again(nodes.one_stood_still, 1, 3),
    ),
    Scenario(
        "nodes-full", "the primaries are out of memory", nodes.again_and_again(nodes.all_were_full, 1, 3)
    ),
    Scenario(
        "connections-cut",
        "all connections to the nodes are cut",
        nodes.again_and_again(nodes.all_cut_their_connections, 2, 20),
    ),
    Scenario("slots-moved", "slots move key by key", nodes.again_and_again(nodes.one_handed_slots_on, 2, 12)),
)
SCENARIOS: Sequence[Scenario] = (
    *_ONE_SERVER,
    *(
        Scenario(f"cluster-{one.name}", f"on a Cluster: {one.title}", one.run, on_cluster=True)
        for one in (*(one for one in _ONE_SERVER if one.name not in _NEEDS_ONE_SERVER), *_NODES)
    ),
)
_SOME: Sequence[Name] = (
    "intake.after-append",
    "matcher.between-appends",
    "matcher.before-ack",
    "delivery.built",
    "delivery.answered",
    "delivery.after-commit",
)
SELECTION: Sequence[Scenario] = (
    Scenario("killed-at-some-failpoints", "SIGKILL at some places", killing.at_every_failpoint(1, _SOME)),
    *(
        one
        for one in _ONE_SERVER
        if one.name in {"store-killed", "answers-lost", "paused-dispatcher", "endpoints"}
    ),
)
"""What runs in the suite, each in its short size."""
