"""Pages of a tenant's Subscriptions by id, read from their index: a page costs the same whatever their
number.
"""

from broker.model.change import Tenant
from broker.model.subscription import Subscription
from broker.services.paging import Page, PageName, page_of
from broker.store.subscription_ids import PAGE
from broker.store.subscriptions import Subscriptions


async def page_by_id(
    subscriptions: Subscriptions, tenant: Tenant, name: PageName, count: int
) -> tuple[Page[Subscription], int]:
    """The named page of at most `count` Subscriptions, and how many there are."""
    bound = name.position[-1] if name.position else None
    if name.relation in {"before", "last"}:
        found = await subscriptions.ids.before(tenant, bound, count + 1)
        size = count if bound is not None else (found.total - 1) % max(1, count) + 1
        has_next, has_previous = found.others > 0, len(found.ids) > size
        ids = found.ids[max(0, len(found.ids) - size) :]
    else:
        found = await subscriptions.ids.after(tenant, bound, count + 1)
        has_next, has_previous = len(found.ids) > count, found.others > 0
        ids = found.ids[:count]
    selected: list[tuple[tuple[str], Subscription]] = []
    for start in range(0, len(ids), PAGE):
        records = await subscriptions.many([(tenant, each) for each in ids[start : start + PAGE]])
        selected += [((each.subscription.id,), each.subscription) for each in records if each is not None]
    return page_of(selected, has_previous=has_previous, has_next=has_next), found.total
