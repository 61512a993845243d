"""Whether a topic fires, told from keys that are read anyway: topics that ask for the same code share one reading.

Covers triggers without criteria and those whose only criteria is a query about the current state in terms of keys (a category, a
status). For anything else, and for a resource that can't be read, the answer is None: then `TopicTriggers` judges.
"""

from collections.abc import Sequence

from broker.errors import BrokerError
from broker.matching.checks import Sight
from broker.matching.definitions import ANY_TYPE
from broker.matching.predicates import Key, drafts
from broker.matching.readers import AnyReader, reader_of
from broker.matching.triggers import query_terms
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import ParameterTable
from broker.model.topic import QueryCriteria, Topic

_Terms = list[tuple[AnyReader, frozenset[Key]]]


class Firing:
    """The triggers of one topic, as far as keys decide them."""

    def __init__(self, topic: Topic, table: ParameterTable, base_urls: frozenset[str]) -> None:
        self._topic = topic
        self._table = table
        self._base_urls = base_urls
        self._known: dict[tuple[Release, str, Interaction], list[_Terms] | None] = {}

    def fires(self, sight: Sight, interaction: Interaction) -> bool | None:
        key = *sight.where, interaction
        if key not in self._known:
            self._known[key] = self._triggers(*key)
        triggers = self._known[key]
        return None if triggers is None else _any(triggers, sight)

    def _triggers(
        self, release: Release, resource_type: str, interaction: Interaction
    ) -> list[_Terms] | None:
        """The terms of each trigger that the kind of change concerns; None where one can't be told by keys."""
        if interaction is Interaction.DELETE:
            return None
        found: list[_Terms] = []
        for trigger in self._topic.resource_triggers:
            if interaction not in trigger.interactions or trigger.resource not in {resource_type, ANY_TYPE}:
                continue
            query = trigger.query or QueryCriteria()
            is_given = interaction is Interaction.CREATE and query.result_for_create is not None
            if trigger.fhirpath is not None or query.previous is not None or is_given:
                return None
            terms = self._terms(query.current, release, resource_type)
            if terms is None:
                return None
            found.append(terms)
        return found

    def _terms(self, query: str | None, release: Release, resource_type: str) -> _Terms | None:
        if query is None:
            return []
        found: _Terms = []
        try:
            for _, wanted in query_terms(query, resource_type):
                parameter = self._table.find(release, resource_type, wanted.parameter)
                if parameter is None:
                    return None
                some = drafts(wanted, parameter, self._base_urls)
                if len(some) != 1 or not some[0].is_exact or not some[0].keys:
                    return None
                reader = reader_of(parameter, some[0].kind, -1, release, self._base_urls)
                found.append((reader, some[0].keys))
        except BrokerError:
            return None  # the judge tells why
        return found


def _any(triggers: Sequence[_Terms], sight: Sight) -> bool | None:
    for terms in triggers:
        passed = _all(terms, sight)
        if passed is not False:
            return passed
    return False


def _all(terms: _Terms, sight: Sight) -> bool | None:
    for reader, keys in terms:
        said = sight.said(reader)
        if not said.says(keys):
            return None if said.failure is not None else False
    return True
