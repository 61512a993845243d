"""Groups of Observations by their codes."""

import json
from collections.abc import Mapping

from broker.model.resource import Resource
from broker.services.last_observations import CodeGroups


def observation(*codes: str) -> Mapping[str, object]:
    codings = [{"system": "urn:c", "code": code} for code in codes]
    return Resource(json.dumps({"code": {"coding": codings}}).encode()).fields


def test_a_group_takes_so_many() -> None:
    groups = CodeGroups(2)
    taken = [groups.takes(observation(code)) for code in "aababb"]
    assert taken == [True, True, True, False, True, False]


def test_a_coding_in_common_makes_one_group() -> None:
    groups = CodeGroups(2)
    assert groups.takes(observation("a"))
    assert groups.takes(observation("a", "b"))
    assert not groups.takes(observation("b"))
    assert groups.takes({"code": {"text": "a"}})
    assert groups.takes({"code": "damaged"})


def test_all_groups_are_full_when_each_code_has_enough() -> None:
    groups = CodeGroups(1)
    assert not groups.are_full(["urn:c|a"])
    groups.takes(observation("a"))
    assert groups.are_full(["urn:c|a"])
    assert not groups.are_full(["urn:c|a", "urn:c|b"])
