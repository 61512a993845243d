"""Whether the filters of a subscription are allowed by its topic and can be evaluated (R-064, R-065, R-173,
R-408).

The broker never accepts a filter that matching would ignore. A filter without a type applies to the types for
which the topic offers its parameter; matching uses the same rule (`filter_applies`). The prefixes inside the
value of a composite belong to the value: the topic need not list them as comparators, but if it lists any,
only those are allowed (R-411).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from broker.matching.chains import chain_ends, compile_chain, is_chained, offered_name, read_chain
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE, find_in_any, is_for, offers_of
from broker.matching.fhirpath import BadExpression
from broker.matching.filters import compile_filter
from broker.matching.problems import FilterProblem, FilterRefusal
from broker.matching.support import comparators_used, modifier_of, unsupported, unsupported_code
from broker.matching.values import BadFilter, BadValue
from broker.matching.vocabulary import foreign_codes
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter
from broker.model.subscription import Subscription
from broker.model.topic import FilterDefinition, Topic


class _Objection(NamedTuple):
    refusal: FilterRefusal
    text: str


_EXCLUSIVE = _Objection(FilterRefusal.INVALID, "a comparator and a modifier exclude each other")


def check_filters(subscription: Subscription, topic: Topic, context: SearchContext) -> list[FilterProblem]:
    """One problem for each filter that is refused, in the order of the filters."""
    check = _FilterCheck(subscription.release, topic, context)
    problems = []
    for index, filter_ in enumerate(subscription.filters):
        objection = next(check.objections(filter_), None)
        if objection is not None:
            text = f"filter {offered_name(filter_)}: {objection.text}"
            problems.append(FilterProblem(index, objection.refusal, text))
    return problems


def filter_applies(filter_: Filter, topic: Topic, resource_type: str) -> bool:
    """Whether an event about that type must pass the filter (R-144).

    A filter without a type applies to the types for which the topic offers its parameter; if there are none,
    to all types.
    """
    if filter_.resource_type is not None:
        return filter_.resource_type in {resource_type, ANY_TYPE}
    name = offered_name(filter_)
    offers = [definition for definition in topic.filters if definition.parameter == name]
    return not offers or any(is_for(definition, resource_type) for definition in offers)


def sends(filters: tuple[Filter, ...], topic: Topic, resource_type: str) -> bool:
    """Whether a subscription with these filters gets events about the type at all.

    Filters that apply to other types only don't keep them back (R-144), unless the topic says so.
    """
    return (
        topic.sends_unfiltered_types
        or not filters
        or any(filter_applies(filter_, topic, resource_type) for filter_ in filters)
    )


def filter_warnings(subscription: Subscription, topic: Topic) -> list[str]:
    """For the author of an accepted subscription: the types of its topic to which no filter applies."""
    filters = subscription.filters
    unfiltered = [
        "other types" if resource_type == ANY_TYPE else resource_type
        for resource_type in sorted(topic.focus_types)
        if not any(filter_applies(filter_, topic, resource_type) for filter_ in filters)
    ]
    if not filters or not unfiltered:
        return []
    names = ", ".join(unfiltered)
    if topic.sends_unfiltered_types:
        text = f"No filter applies to {names}: every such event of the topic is sent, of every patient."
        return [f"{text} Add a filter for {names} to limit them."]
    return [f"No filter applies to {names}: the topic sends no such events to this subscription."]


def _types(filter_: Filter, topic: Topic) -> list[str]:
    """The focus types that the filter applies to. A topic about every type adds the types that its filters
    name.
    """
    focus_types = set(topic.focus_types)
    if filter_.resource_type is not None:
        return [filter_.resource_type] if focus_types & {filter_.resource_type, ANY_TYPE} else []
    if ANY_TYPE in focus_types:
        focus_types |= {
            definition.resource for definition in topic.filters if definition.resource is not None
        }
    return sorted(each for each in focus_types if filter_applies(filter_, topic, each))


@dataclass(frozen=True, slots=True)
class _FilterCheck:
    """Finds the objections to filters of subscriptions of one release to one topic."""

    release: Release
    topic: Topic
    context: SearchContext

    def objections(self, filter_: Filter) -> Iterator[_Objection]:
        """The client gets the first."""
        name = offered_name(filter_)
        if filter_.modifier is not None and filter_.comparator is not None and not is_chained(filter_):
            yield _EXCLUSIVE
        types = _types(filter_, self.topic)
        if not types:
            yield _not_supported(f"the topic never notifies about {filter_.resource_type or 'its type'}")
        offers = {resource_type: offers_of(self.topic, name, resource_type) for resource_type in types}
        if not any(offers.values()):
            of_type = f" of {filter_.resource_type}" if filter_.resource_type else ""
            yield _not_supported(f"the topic does not offer the filter {name}{of_type}")
        if is_chained(filter_):
            yield from self._chain_objections(filter_, offers)
            return
        parameters = {resource_type: self._parameter(resource_type, name) for resource_type in types}
        if not any(parameters.values()):
            reason = unsupported_code(name)
            text = f"{' or '.join(types)} has no search parameter {name} in {self.release}"
            yield _not_supported(reason or text)
        for resource_type, parameter in parameters.items():
            if parameter is not None:
                yield from self._parameter_objections(filter_, parameter, offers[resource_type])

    def _parameter(self, resource_type: str, name: str) -> SearchParameter | None:
        return find_in_any(self.context.parameters, self.release, resource_type, name, self.topic)

    def _chain_objections(
        self, filter_: Filter, offers: dict[str, list[FilterDefinition]]
    ) -> Iterator[_Objection]:
        chain = read_chain(filter_)
        if chain is None:
            text = "a chain is written reference.parameter or reference:Type.parameter"
            yield _Objection(FilterRefusal.INVALID, text)
            return
        if chain.last.modifier is not None and chain.last.comparator is not None:
            yield _EXCLUSIVE
        references = {resource_type: self._parameter(resource_type, chain.link) for resource_type in offers}
        if not any(references.values()):
            text = f"{' or '.join(offers)} has no search parameter {chain.link} in {self.release}"
            yield _not_supported(text)
        for resource_type, reference in references.items():
            if reference is None:
                continue
            try:
                for end in chain_ends(chain, reference, self.context.parameters):
                    yield from _unsupported(chain.last, end.parameter)
                    yield from _not_offered(chain.last, end.parameter, offers[resource_type])
                    if end.release is self.release:
                        yield from self._code_objections(chain.last, end.parameter)
                compile_chain(chain, reference, self.release, self.context)
            except BadValue as error:
                yield _Objection(FilterRefusal.BAD_VALUE, str(error))
            except (BadFilter, BadExpression) as error:
                yield _not_supported(str(error))

    def _parameter_objections(
        self, filter_: Filter, parameter: SearchParameter, offers: list[FilterDefinition]
    ) -> Iterator[_Objection]:
        try:
            yield from _unsupported(filter_, parameter)
            yield from _not_offered(filter_, parameter, offers)
            compile_filter(filter_, parameter, self.release, self.context)
            yield from self._code_objections(filter_, parameter)
        except BadValue as error:
            yield _Objection(FilterRefusal.BAD_VALUE, str(error))
        except (BadFilter, BadExpression) as error:
            yield _not_supported(str(error))

    def _code_objections(self, filter_: Filter, parameter: SearchParameter) -> Iterator[_Objection]:
        """A code outside the required value set would never match. Raises BadValue."""
        foreign = foreign_codes(filter_, parameter)
        if foreign:
            codes = ", ".join(sorted(parameter.codes))
            text = f"{', '.join(foreign)} is no code of it in {self.release}; use one of {codes}"
            yield _Objection(FilterRefusal.BAD_VALUE, text)


def _not_supported(text: str) -> _Objection:
    return _Objection(FilterRefusal.NOT_SUPPORTED, text)


def _unsupported(filter_: Filter, parameter: SearchParameter) -> Iterator[_Objection]:
    reason = unsupported(filter_, parameter)
    if reason is not None:
        yield _not_supported(reason)


def _not_offered(
    filter_: Filter, parameter: SearchParameter, offers: list[FilterDefinition]
) -> Iterator[_Objection]:
    """The modifier or the comparators that the topic does not list (R-064)."""
    modifier = filter_.modifier
    if modifier is not None and not any(_offers_modifier(definition, modifier) for definition in offers):
        yield _not_supported(f"the topic does not offer the modifier :{modifier}")
    offered = frozenset[Comparator]().union(*(definition.comparators for definition in offers))
    if parameter.type is ParameterType.COMPOSITE and not offered:
        return
    refused = comparators_used(filter_, parameter) - {Comparator.EQ} - offered
    if refused:
        yield _not_supported(f"the topic does not offer the comparator {', '.join(sorted(refused))}")


def _offers_modifier(offer: FilterDefinition, modifier: str) -> bool:
    """Topics list a type name as modifier as `type`."""
    if modifier in offer.modifiers:
        return True
    return modifier_of(modifier) is Modifier.TYPE and Modifier.TYPE.value in offer.modifiers
