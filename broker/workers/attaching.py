"""Resolves what a topic's notificationShape adds to an event, once a change and topic, from what is stored in its tenant.

It is done when the change is matched, after it was accepted, and pinned with the event, so that every attempt of a notification
tells the same (R-209, R-483). What isn't stored is left out (R-071).
"""

from collections.abc import Iterable

from broker.matching.catalog import Catalog
from broker.matching.shapes import Shapes
from broker.model.change import Change
from broker.model.notification import Included
from broker.model.search import ParameterTable
from broker.store.outbox import NO_CONTEXT, Context
from broker.store.resources import Resources

MAX_INCLUDED = 100
MAX_REFERRING = 100
"""The newest that refer to the focus; a patient's observations are without end."""


class Attaching:
    """Contexts of events."""

    def __init__(
        self, catalog: Catalog, table: ParameterTable, resources: Resources, base_urls: frozenset[str]
    ) -> None:
        self._catalog = catalog
        self._table = table
        self._resources = resources
        self._base_urls = base_urls
        self._shapes: dict[str, Shapes] = {}

    async def contexts(self, change: Change, topics: Iterable[str]) -> dict[str, Context]:
        """By the canonical of each topic the change is an event of."""
        return {canonical: await self._context(change, canonical) for canonical in topics}

    async def _context(self, change: Change, canonical: str) -> Context:
        topic = self._catalog.bound(canonical)
        if topic is None or not topic.shapes:
            return NO_CONTEXT
        shapes = self._shapes.get(canonical)
        if shapes is None or shapes.topic is not topic:
            shapes = self._shapes[canonical] = Shapes(topic, self._table, self._base_urls)
        key = change.current.key
        wanted = dict.fromkeys(shapes.includes(change)[:MAX_INCLUDED])
        referrers = shapes.referrers(key.type)
        if referrers:
            found = await self._resources.referring(key.tenant, key.reference, referrers, limit=MAX_REFERRING)
            wanted |= dict.fromkeys(found)
        wanted.pop((key.type, key.id), None)
        versions = await self._resources.current_many(key.tenant, wanted)
        # in the order of the shape; deletions are current versions too
        kept = [one for target in wanted if (one := versions.get(target)) and one.body is not None]
        return Context(
            tuple(Included(one.key, one.release) for one in kept), sum(len(one.body or b"") for one in kept)
        )
