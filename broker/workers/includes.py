"""Resolves the resources that a topic's notificationShape includes with an event (R-070..R-073).

The batch processor calls it when a change is matched, after the change was accepted. The resolved versions
are stored with the event, so every attempt of a notification has the same content (R-209, R-483). Resources
that are not stored in the tenant of the change are left out (R-071).
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
from broker.workers.large_changes import run_aside

MAX_INCLUDED = 100
MAX_REFERRING = 100
"""The newest resources that refer to the focus; a patient can have any number of observations."""

Targets = Mapping[str, Sequence[Target]]
"""The resources to include, by the canonical of a topic."""


class IncludeResolver:
    """Finds the targets of one change, then reads those of a whole batch of changes together."""

    def __init__(self, catalog: Catalog, context: SearchContext, resources: Resources) -> None:
        self._catalog = catalog
        self._context = context
        self._resources = resources
        self._shapes: dict[str, NotificationShapes] = {}

    async def targets(self, change: Change, canonicals: Iterable[str]) -> Targets:
        """What the shapes of these topics include with the change, whether it is stored or not."""
        return {canonical: await self._targets_of(change, canonical) for canonical in canonicals}

    async def contexts(self, batch: Sequence[tuple[Change, Targets]]) -> list[dict[str, Context]]:
        """For each change, by canonical: the stored versions of its targets. Reads a batch together."""
        targets_of_tenants: dict[Tenant, dict[Target, None]] = {}
        for change, by_canonical in batch:
            for targets in by_canonical.values():
                if targets:
                    tenant = change.current.key.tenant
                    targets_of_tenants.setdefault(tenant, {}).update(dict.fromkeys(targets))
        versions = {
            tenant: await self._resources.current_many(tenant, targets)
            for tenant, targets in targets_of_tenants.items()
        }
        return [
            {
                canonical: _context(targets, versions.get(change.current.key.tenant, {}))
                for canonical, targets in by_canonical.items()
            }
            for change, by_canonical in batch
        ]

    async def _targets_of(self, change: Change, canonical: str) -> Sequence[Target]:
        shapes = self._shapes_of(canonical)
        if shapes is None:
            return ()
        key = change.current.key
        targets = dict.fromkeys((await run_aside(change, shapes.includes, change))[:MAX_INCLUDED])
        referrers = shapes.referrers(key.type)
        if referrers:
            referring = await self._resources.referring(
                key.tenant, key.reference, referrers, limit=MAX_REFERRING
            )
            targets |= dict.fromkeys(referring)
        targets.pop((key.type, key.id), None)
        return tuple(targets)

    def _shapes_of(self, canonical: str) -> NotificationShapes | None:
        """The parsed shapes of the topic as it is now; None if it has none."""
        topic = self._catalog.bound(canonical)
        if topic is None or not topic.shapes:
            return None
        shapes = self._shapes.get(canonical)
        if shapes is None or shapes.topic is not topic:
            self._shapes = {name: each for name, each in self._shapes.items() if self._catalog.bound(name)}
            shapes = self._shapes[canonical] = NotificationShapes(topic, self._context)
        return shapes


def _context(targets: Sequence[Target], versions: Mapping[Target, Version]) -> Context:
    """The versions in the order of the shape; deletions are current versions too, and are left out."""
    if not targets:
        return NO_CONTEXT
    stored = [
        version for target in targets if (version := versions.get(target)) and version.resource is not None
    ]
    included = tuple(Included(version.key, version.release) for version in stored)
    return Context(included, sum(len(version.resource.text) for version in stored if version.resource))
