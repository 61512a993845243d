"""How programs of an EHR integrator put resources of the broker into an EHR: under the ids of the broker, and
after what they refer to.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

TIMEOUT_S = 60
Document = Mapping[str, Any]


class EhrWriter:
    """`broker` and `ehr` are clients of FHIR bases. Each error is raised: the caller begins again."""

    def __init__(self, broker: httpx.AsyncClient, ehr: httpx.AsyncClient) -> None:
        self._broker = broker
        self._ehr = ehr
        self._written: set[str] = set()

    async def put(self, resource: Document, others: Mapping[str, Document]) -> None:
        """Writes a resource; `others` are by `Type/id`, what is not among them is read from the broker."""
        for reference in references(resource):
            if reference not in self._written:
                target = others.get(reference)
                if target is None:
                    target = (await self._broker.get(reference)).raise_for_status().json()
                await self.put(target, others)
        name = name_of(resource)
        (await self._ehr.put(name, json=resource)).raise_for_status()
        self._written.add(name)


def client_of(base: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base, timeout=TIMEOUT_S, trust_env=False)


def name_of(resource: Document) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def references(value: Any) -> Iterator[str]:
    """The references of a resource, as `Type/id`."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, Mapping):
        if isinstance(value.get("reference"), str):
            yield "/".join(value["reference"].split("/")[-2:])
        for part in value.values():
            yield from references(part)
