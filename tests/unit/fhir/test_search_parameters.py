"""The table of search parameters."""

from broker.fhir import search_parameters
from broker.fhir.search_parameters import SearchParameters
from broker.model.release import Release


def test_codes_that_clients_make_up_are_not_remembered() -> None:
    table = SearchParameters()
    assert table.find(Release.R5, "Observation", "code") is table.find(Release.R5, "Observation", "code")
    before = search_parameters._parameter.cache_info().currsize
    for number in range(10):
        assert table.find(Release.R5, "Observation", f"unknown-{number}") is None
    assert search_parameters._parameter.cache_info().currsize == before
