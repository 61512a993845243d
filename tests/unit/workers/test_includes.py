"""What the matcher keeps of the notification shapes of topics."""

import json
from pathlib import Path
from typing import Any, cast

from broker.fhir.search_parameters import SearchParameters
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.workers.includes import IncludeResolver

_TOPIC = Path(__file__).resolve().parents[3] / "topics" / "admission.json"


class NothingStored:
    """Resources of which none refers to another."""

    async def referring(self, *_: object, **__: object) -> list[object]:
        return []


async def test_the_shapes_of_a_topic_version_that_is_gone_are_forgotten() -> None:
    document = json.loads(_TOPIC.read_bytes())
    catalog = Catalog(parse_topic, SearchParameters())
    resolver = IncludeResolver(catalog, catalog.search_context(frozenset()), cast("Any", NothingStored()))
    body = json.dumps(
        {
            "resourceType": "Encounter",
            "id": "e",
            "subject": {"reference": "Patient/p"},
            "status": "in-progress",
        }
    ).encode()
    version = Version(
        VersionKey(DEFAULT_TENANT, "Encounter", "e", 1), Release.R4, Interaction.CREATE, 0, Resource(body)
    )
    change = Change("1-0", 0, version, None)
    for number in range(3):
        topic = parse_topic(Resource(json.dumps(document | {"version": f"1.{number}"}).encode()))
        catalog.put(topic)
        targets = await resolver.targets(change, [topic.canonical])
        assert targets[topic.canonical]
    assert len(resolver._shapes) == 1
