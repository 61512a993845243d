"""The router's connections to nodes, without a Cluster."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as ConnectionLost

from broker.store import routing
from broker.store.routing import ClusterNode, Router
from broker.store.slots import Address


class Node:
    """A node that answers as long as it is in `running`."""

    def __init__(self, address: Address, running: set[Address]) -> None:
        self.address = address
        self.is_closed = False
        self._running = running
        self.client = self.batcher = self

    async def exchange(self, commands: Sequence[object], **_: object) -> list[object]:
        if self.address not in self._running:
            raise ConnectionLost("the node has gone")
        return [self.address for _ in commands]

    async def close(self) -> None:
        self.is_closed = True


class Cluster:
    """Nodes that come and go; a refresh sees those that run. It is the topology of a `Router`."""

    def __init__(self) -> None:
        self.running = {("10.0.0.1", 6379)}
        self.nodes: list[Node] = []
        self.replicas: tuple[Address, ...] = ()
        self.primaries = tuple(self.running)
        self.revision = 0

    def node_at(self, address: Address) -> ClusterNode:
        node = Node(address, self.running)
        self.nodes.append(node)
        return cast("ClusterNode", node)

    def primary(self, _slot: int | None) -> Address:
        return self.primaries[0]

    async def refresh(self, _seen: int) -> None:
        self.primaries = tuple(self.running)
        self.revision += 1

    def replace_node(self, number: int) -> None:
        self.running.clear()
        self.running.add((f"10.0.0.{number}", 6379))


@pytest.mark.parametrize(("departed_s", "open_nodes"), [(0.0, 1), (routing.DEPARTED_S, 5)])
async def test_connections_to_nodes_that_left_are_closed_after_a_time(
    monkeypatch: pytest.MonkeyPatch, departed_s: float, open_nodes: int
) -> None:
    monkeypatch.setattr(routing, "DEPARTED_S", departed_s)
    cluster = Cluster()
    router = Router(cast("Any", cluster), cluster.node_at, cast("Any", None), repeats=True)
    for number in range(1, 6):
        cluster.replace_node(number)
        assert await router.run([("GET", "a")]) == [(f"10.0.0.{number}", 6379)]
    assert [node.is_closed for node in cluster.nodes].count(False) == open_nodes
    assert not cluster.nodes[-1].is_closed
