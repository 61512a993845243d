"""The matcher's record of each partition."""

from broker.workers.partitions import Partitions


def held(partitions: Partitions) -> dict[int, tuple[int, str | None]]:
    return {partition.number: (partition.token, partition.position) for partition in partitions}


def test_a_partition_keeps_its_record_as_long_as_its_lease() -> None:
    partitions = Partitions()
    partitions.update({1: 10, 2: 20})
    for partition in partitions:
        partition.position = "5-0"
    partitions.update({1: 10, 3: 30})
    assert held(partitions) == {1: (10, "5-0"), 3: (30, None)}


def test_a_partition_taken_over_again_starts_a_new_record() -> None:
    partitions = Partitions()
    partitions.update({1: 10})
    for partition in partitions:
        partition.position = "5-0"
        partition.poison.record("1-0", ValueError("bad value"))
    partitions.update({1: 11})
    assert held(partitions) == {1: (11, None)}
    assert [partition.poison.attempts("1-0") for partition in partitions] == [0]


def test_forgotten_positions_are_unknown() -> None:
    partitions = Partitions()
    partitions.update({1: 10, 2: 20})
    for partition in partitions:
        partition.position = "5-0"
    partitions.forget_positions()
    assert held(partitions) == {1: (10, None), 2: (20, None)}
