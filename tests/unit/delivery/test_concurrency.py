"""The budget of attempts for each concurrency key."""

from broker.delivery.concurrency import ConcurrencyBudget


def test_a_key_has_as_many_slots_as_the_limit_and_takes_none_from_another() -> None:
    budget = ConcurrencyBudget(limit=2)
    with budget.slot("a") as first, budget.slot("a") as second, budget.slot("a") as third:
        assert (first, second, third) == (True, True, False)
        with budget.slot("b") as other:
            assert other


def test_a_slot_is_free_again_after_the_attempt() -> None:
    budget = ConcurrencyBudget(limit=1)
    with budget.slot("a") as granted:
        assert granted
    with budget.slot("a") as granted:
        assert granted
