"""Loads the mappings of a process that takes readings, and builds the worker that reloads them."""

import asyncio
from collections.abc import Awaitable, Callable

from broker.mapping.mapping_set import MappingHolder, MappingSet, load_mappings
from broker.settings import Settings
from broker.workers.mapping_reload import MappingReload


def check_mappings(settings: Settings) -> None:
    """Raises `ConfigurationError` for a folder or file of BROKER_MAPPINGS_DIR that cannot be used."""
    load_mappings(settings.mappings_dir)


def watched_mappings(
    settings: Settings, stop: asyncio.Event, loops: dict[str, Callable[[], Awaitable[None]]]
) -> Callable[[], MappingSet]:
    """Gives the mappings in force. With a folder, adds the loop that reloads them to `loops`. Raises as
    `check_mappings`.
    """
    holder = MappingHolder(load_mappings(settings.mappings_dir))
    if settings.mappings_dir is not None:
        reload = MappingReload(holder, settings.mappings_dir)
        loops["mappings"] = lambda: reload.run(stop)
    return lambda: holder.current
