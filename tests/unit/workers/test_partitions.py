"""The matcher's record of each partition."""

from broker.workers.partitions import Partitions


def held(partitions: Partitions) -> dict[int, tuple[int, bool]]:
    return {partition.number: (partition.token, partition.is_recovered) for partition in partitions}


def test_a_partition_keeps_its_record_as_long_as_its_lease() -> None:
    partitions = Partitions()
    partitions.update({1: 10, 2: 20})
    for partition in partitions:
        partition.is_recovered = True
    partitions.update({1: 10, 3: 30})
    assert held(partitions) == {1: (10, True), 3: (30, False)}


def test_a_partition_taken_over_again_starts_a_new_record() -> None:
    partitions = Partitions()
    partitions.update({1: 10})
    for partition in partitions:
        partition.is_recovered = True
        partition.poison.record("1-0", ValueError("bad value"))
    partitions.update({1: 11})
    assert held(partitions) == {1: (11, False)}
    assert [partition.poison.attempts("1-0") for partition in partitions] == [0]


def test_a_recheck_that_is_due_recovers_the_partition_once() -> None:
    partitions = Partitions()
    partitions.update({1: 10, 2: 20})
    for partition in partitions:
        partition.is_recovered = True
        partition.recheck_at_s = 0 if partition.number == 1 else float("inf")
    partitions.recheck()
    assert held(partitions) == {1: (10, False), 2: (20, True)}
    for partition in partitions:
        partition.is_recovered = True
    partitions.recheck()
    assert held(partitions) == {1: (10, True), 2: (20, True)}


def test_an_interruption_recovers_all_partitions() -> None:
    partitions = Partitions()
    partitions.update({1: 10, 2: 20})
    for partition in partitions:
        partition.is_recovered = True
    partitions.forget_recovered()
    assert held(partitions) == {1: (10, False), 2: (20, False)}
