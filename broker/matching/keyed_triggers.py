"""Decides whether a topic fires by comparing keys, which are extracted once for all topics.

That works for triggers without criteria, and for triggers whose only criteria are a query about the current
state that keys can answer (a category, a status). `TopicTriggers` decides all other triggers, and all
triggers on a resource that can't be read.
"""

from collections.abc import Sequence

from broker.errors import BrokerError
from broker.matching.change_evaluation import ChangeViews
from broker.matching.context import SearchContext
from broker.matching.criteria import query_terms
from broker.matching.definitions import ANY_TYPE
from broker.matching.predicates import LookupKey, draft_predicates
from broker.matching.readers import Reader, reader_of
from broker.matching.triggers import TopicTriggers
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.topic import QueryCriteria, Topic

_Terms = tuple[Release, list[tuple[Reader, frozenset[LookupKey]]]]
"""The focus, as that release shows it, must have one of the keys of every term."""


class KeyedTriggers:
    """The resource triggers of one topic that keys can decide."""

    def __init__(self, topic: Topic, triggers: TopicTriggers, context: SearchContext) -> None:
        self._topic = topic
        self._triggers = triggers
        self._context = context
        self._compiled: dict[tuple[Release, str, Interaction], list[_Terms] | None] = {}

    def fires(self, views: ChangeViews, resource_type: str, interaction: Interaction) -> bool | None:
        """None if keys don't decide it."""
        key = views.release, resource_type, interaction
        if key not in self._compiled:
            self._compiled[key] = self._compile(*key)
        triggers = self._compiled[key]
        return None if triggers is None else _any(triggers, views)

    def _compile(self, release: Release, resource_type: str, interaction: Interaction) -> list[_Terms] | None:
        """The terms of each trigger for that kind of change; None if keys don't decide one of them."""
        if interaction is Interaction.DELETE:
            return None
        triggers: list[_Terms] = []
        for index, trigger in enumerate(self._topic.resource_triggers):
            if interaction not in trigger.interactions or trigger.resource not in {resource_type, ANY_TYPE}:
                continue
            query = trigger.query or QueryCriteria()
            uses_result = interaction is Interaction.CREATE and query.result_for_create is not None
            if trigger.fhirpath is not None or query.previous is not None or uses_result:
                return None
            judged = self._triggers.query_release(index, release, resource_type)
            terms = self._terms(query.current, judged, resource_type)
            if terms is None:
                return None
            triggers.append((judged, terms))
        return triggers

    def _terms(
        self, query: str | None, release: Release, resource_type: str
    ) -> list[tuple[Reader, frozenset[LookupKey]]] | None:
        if query is None:
            return []
        terms: list[tuple[Reader, frozenset[LookupKey]]] = []
        try:
            for _, filter_ in query_terms(query, resource_type):
                parameter = self._context.parameters.find(release, resource_type, filter_.parameter)
                if parameter is None:
                    return None
                drafts = draft_predicates(filter_, parameter, self._context)
                if len(drafts) != 1 or not drafts[0].is_exact or not drafts[0].keys:
                    return None
                reader = reader_of(parameter, drafts[0].kind, -1, release, self._context)
                terms.append((reader, drafts[0].keys))
        except BrokerError:
            return None  # TopicTriggers reports the reason
        return terms


def _any(triggers: Sequence[_Terms], views: ChangeViews) -> bool | None:
    for terms in triggers:
        passed = _all(terms, views)
        if passed is not False:
            return passed
    return False


def _all(trigger: _Terms, views: ChangeViews) -> bool | None:
    release, terms = trigger
    if not terms:
        return True
    change = views.view(release)
    if change.release is not release:
        return None  # it has no conversion
    for reader, keys in terms:
        extracted = change.keys(reader)
        if not extracted.has_any(keys):
            return None if extracted.failure is not None else False
    return True
