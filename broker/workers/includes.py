"""Resolves what a topic's notificationShape adds to an event, once a change and topic, from what is stored in its tenant; a
batch of changes is read together.

It is done when the change is matched, after it was accepted, and pinned with the event, so that every attempt of a notification
tells the same (R-209, R-483). What isn't stored is left out (R-071).
"""

from collections.abc import Iterable, Mapping, Sequence

from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.shapes import NotificationShapes
from broker.matching.states import Target
from broker.model.change import Change, Tenant, Version
from broker.model.notification import Included
from broker.store.outbox import NO_CONTEXT, Context
from broker.store.resources import Resources

MAX_INCLUDED = 100
MAX_REFERRING = 100
"""The newest that refer to the focus; a patient's observations are without end."""

Targets = Mapping[str, Sequence[Target]]
"""By the canonical of a topic."""


class IncludeResolver:
    """Contexts of events."""

    def __init__(self, catalog: Catalog, context: SearchContext, resources: Resources) -> None:
        self._catalog = catalog
        self._context = context
        self._resources = resources
        self._shapes: dict[str, NotificationShapes] = {}

    async def targets(self, change: Change, topics: Iterable[str]) -> Targets:
        """What goes with the change where it is an event of these topics (canonicals), stored or not."""
        return {canonical: await self._targets(change, canonical) for canonical in topics}

    async def _targets(self, change: Change, canonical: str) -> Sequence[Target]:
        topic = self._catalog.bound(canonical)
        if topic is None or not topic.shapes:
            return ()
        shapes = self._shapes.get(canonical)
        if shapes is None or shapes.topic is not topic:
            shapes = self._shapes[canonical] = NotificationShapes(topic, self._context)
        key = change.current.key
        wanted = dict.fromkeys(shapes.includes(change)[:MAX_INCLUDED])
        referrers = shapes.referrers(key.type)
        if referrers:
            found = await self._resources.referring(key.tenant, key.reference, referrers, limit=MAX_REFERRING)
            wanted |= dict.fromkeys(found)
        wanted.pop((key.type, key.id), None)
        return tuple(wanted)

    async def contexts(self, wanted: Sequence[tuple[Change, Targets]]) -> list[dict[str, Context]]:
        """By topic, for each change of a batch: what is stored of its targets, read together."""
        by_tenant: dict[Tenant, dict[Target, None]] = {}
        for change, targets in wanted:
            for some in targets.values():
                if some:
                    by_tenant.setdefault(change.current.key.tenant, {}).update(dict.fromkeys(some))
        versions = {
            tenant: await self._resources.current_many(tenant, some) for tenant, some in by_tenant.items()
        }
        return [
            {
                canonical: _context(some, versions.get(change.current.key.tenant, {}))
                for canonical, some in targets.items()
            }
            for change, targets in wanted
        ]


def _context(wanted: Sequence[Target], versions: Mapping[Target, Version]) -> Context:
    if not wanted:
        return NO_CONTEXT
    # in the order of the shape; deletions are current versions too
    kept = [one for target in wanted if (one := versions.get(target)) and one.body is not None]
    return Context(
        tuple(Included(one.key, one.release) for one in kept), sum(len(one.body or b"") for one in kept)
    )
