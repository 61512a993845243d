"""Keys of the runs that redrive or discard many dead letters. They are built nowhere else."""

from broker.model.change import Tenant

OPEN_RUNS = "broker:open-dead-letter-runs"
"""Set: `<tenant> <run>` of the runs that are under way."""


def newest_dead_letter_run(tenant: Tenant) -> str:
    """String: the id of the newest run of the tenant; it expires."""
    return f"broker:dead-letter-run:{tenant}"


def dead_letter_run(tenant: Tenant, run_id: str) -> str:
    """String: a run (`dead_letter_runs.py` reads it); it expires."""
    return f"broker:dead-letter-run:{tenant}:{run_id}"


def dead_letter_run_claim(tenant: Tenant) -> str:
    """String: the process that works at the tenant's run; it expires."""
    return f"broker:dead-letter-run-claim:{tenant}"
