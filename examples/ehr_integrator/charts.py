"""An application of an EHR integrator: it charts the heart rates that a broker notifies."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from broker.receiver import CatchUp, Event, Ledger, NotificationMiddleware, Receiver

_TABLE = """
CREATE TABLE IF NOT EXISTS heart_rates (
    subscription TEXT, number INTEGER, patient TEXT, value REAL, PRIMARY KEY (subscription, number)
)
"""


class Charts:
    """The heart rates in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute(_TABLE)

    async def add(self, event: Event) -> None:
        """Subscription and number are the key: an event that is handed over again changes nothing."""
        if event.resource is None:  # a deletion
            return
        patient = event.resource["subject"]["reference"].rpartition("/")[2]
        value = event.resource["valueQuantity"]["value"]
        with self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO heart_rates VALUES (?, ?, ?, ?)",
                (event.subscription, event.number, patient, value),
            )

    def of(self, patient: str) -> list[float]:
        rows = self._database.execute(
            "SELECT value FROM heart_rates WHERE patient = ? ORDER BY subscription, number", (patient,)
        )
        return [value for (value,) in rows]


def application(folder: Path, fhir_base: str, secrets: Sequence[str] | None) -> NotificationMiddleware:
    """Charts at `/charts/[patient]`; the Subscription's endpoint is `/notifications`."""
    charts = Charts(folder / "charts.db")

    async def chart(request: Request) -> JSONResponse:
        return JSONResponse(charts.of(request.path_params["patient"]))

    receiver = Receiver(
        charts.add,
        Ledger(folder / "ledger.db"),
        secrets=secrets,
        catch_up=CatchUp(fhir_base, httpx.AsyncClient(timeout=10, trust_env=False)),
    )
    return NotificationMiddleware(Starlette(routes=[Route("/charts/{patient}", chart)]), receiver)
