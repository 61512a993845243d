"""A subscriber that is written with `broker.receiver`: it puts the resource of each event into an EHR.

python -m tests.integration.rest_hook_bridge FOLDER BROKER_BASE EHR_BASE PORT
"""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from broker.receiver import CatchUp, Event, Ledger, NotificationMiddleware, Receiver
from tests.integration.ehr_writer import EhrWriter, client_of, name_of


def main(folder: str, broker: str, ehr: str, port: str) -> None:
    client = client_of(broker)
    writer = EhrWriter(client, client_of(ehr))

    async def write(event: Event) -> None:
        """What it raises makes the receiver answer 500, so that the broker sends the event again."""
        if event.resource is not None:
            await writer.put(event.resource, {name_of(other): other for other in event.others})

    ledger = Ledger(Path(folder) / "ledger.db")
    receiver = Receiver(write, ledger, secrets=None, catch_up=CatchUp(broker, client))
    uvicorn.run(NotificationMiddleware(Starlette(), receiver), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
