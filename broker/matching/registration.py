"""Whether the filters of a subscription are ones its topic allows and this broker evaluates (R-064, R-065, R-173, R-408).

Nothing is accepted that matching would then ignore. A filter that names no type applies to the types for which the topic
offers its parameter; `filter_applies` says so to matching as well. The prefixes inside a composite's value belong to that
value: they need no comparator in the topic, unless the topic lists some, and then those are all (R-411).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from broker.errors import Issue
from broker.matching.chains import compile_chain, ends, is_chained, offered_name, read_chain
from broker.matching.definitions import ANY_TYPE, find_in_any, is_for, offers_of
from broker.matching.fhirpath import BadExpression
from broker.matching.filters import compile_filter
from broker.matching.support import comparators_used, modifier_of, unsupported, unsupported_code
from broker.matching.values import BadFilter, BadValue
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier, ParameterTable, ParameterType, SearchParameter
from broker.model.subscription import Subscription
from broker.model.topic import FilterDefinition, Topic

Where = Callable[[int], str]
_Told = tuple[str, str]


def check_filters(
    subscription: Subscription,
    topic: Topic,
    table: ParameterTable,
    where: Where | None = None,
    base_urls: frozenset[str] = frozenset(),
    value_sets: ValueSets = NO_VALUE_SETS,
) -> list[Issue]:
    """One issue for each filter that can't be honoured; `where` gives the FHIRPath of the filter with that index."""
    where = where or default_where(subscription.release)
    check = _Check(subscription.release, topic, table, base_urls, value_sets)
    issues = []
    for n, wanted in enumerate(subscription.filters):
        told = next(check.objections(wanted), None)
        if told is not None:
            issues.append(Issue(told[0], f"filter {offered_name(wanted)}: {told[1]}", where(n)))
    return issues


def default_where(release: Release) -> Where:
    """Where a subscription of a release keeps its filters."""
    if release is Release.R5:
        return lambda n: f"Subscription.filterBy[{n}]"
    return lambda n: f"Subscription.criteria.extension[{n}]"


def filter_applies(wanted: Filter, topic: Topic, resource_type: str) -> bool:
    """Whether an event about that type must pass the filter (R-144).

    A filter without a type is for the types the topic offers its parameter for; if it offers it for none, for all.
    """
    if wanted.resource_type is not None:
        return wanted.resource_type in {resource_type, ANY_TYPE}
    name = offered_name(wanted)
    offered = [one for one in topic.filters if one.parameter == name]
    return not offered or any(is_for(one, resource_type) for one in offered)


def _types(wanted: Filter, topic: Topic) -> list[str]:
    """The focus types a filter would apply to; a topic about every type adds those its filters name."""
    focus = set(topic.focus_types)
    if wanted.resource_type is not None:
        return [wanted.resource_type] if focus & {wanted.resource_type, ANY_TYPE} else []
    if ANY_TYPE in focus:
        focus |= {one.resource for one in topic.filters if one.resource is not None}
    return sorted(one for one in focus if filter_applies(wanted, topic, one))


@dataclass(frozen=True, slots=True)
class _Check:
    """What objections are judged by."""

    release: Release
    topic: Topic
    table: ParameterTable
    base_urls: frozenset[str]
    value_sets: ValueSets

    def objections(self, wanted: Filter) -> Iterator[_Told]:
        """The first is told to the client."""
        name = offered_name(wanted)
        if wanted.modifier is not None and wanted.comparator is not None and not is_chained(wanted):
            yield "invalid", "a comparator and a modifier exclude each other"
        types = _types(wanted, self.topic)
        if not types:
            yield "not-supported", f"the topic never notifies about {wanted.resource_type or 'its type'}"
        offers = {one: offers_of(self.topic, name, one) for one in types}
        if not any(offers.values()):
            of_type = f" of {wanted.resource_type}" if wanted.resource_type else ""
            yield "not-supported", f"the topic can't be filtered by {name}{of_type}"
        if is_chained(wanted):
            yield from self._chain_objections(wanted, offers)
            return
        found = {one: find_in_any(self.table, self.release, one, name, self.topic) for one in types}
        if not any(found.values()):
            reason = unsupported_code(name)
            yield "not-supported", reason or f"no search parameter {name} of {' or '.join(types)} is known"
        for one, parameter in found.items():
            if parameter is not None:
                yield from self._parameter_objections(wanted, parameter, offers[one])

    def _chain_objections(self, wanted: Filter, offers: dict[str, list[FilterDefinition]]) -> Iterator[_Told]:
        chain = read_chain(wanted)
        if chain is None:
            yield "invalid", "a chain is written reference.parameter or reference:Type.parameter"
            return
        if chain.last.modifier is not None and chain.last.comparator is not None:
            yield "invalid", "a comparator and a modifier exclude each other"
        found = {one: find_in_any(self.table, self.release, one, chain.link, self.topic) for one in offers}
        if not any(found.values()):
            yield "not-supported", f"no search parameter {chain.link} of {' or '.join(offers)} is known"
        for one, reference in found.items():
            if reference is None:
                continue
            try:
                for _, _, parameter in ends(chain, reference, self.table):
                    yield from _told(unsupported(chain.last, parameter))
                    yield from _unoffered(chain.last, parameter, offers[one])
                compile_chain(chain, reference, self.table, self.base_urls, self.release, self.value_sets)
            except BadValue as error:
                yield "value", str(error)
            except (BadFilter, BadExpression) as error:
                yield "not-supported", str(error)

    def _parameter_objections(
        self, wanted: Filter, parameter: SearchParameter, offers: list[FilterDefinition]
    ) -> Iterator[_Told]:
        try:
            yield from _told(unsupported(wanted, parameter))
            yield from _unoffered(wanted, parameter, offers)
            compile_filter(wanted, parameter, self.base_urls, self.release, self.value_sets)
        except BadValue as error:
            yield "value", str(error)
        except (BadFilter, BadExpression) as error:
            yield "not-supported", str(error)


def _told(reason: str | None) -> Iterator[_Told]:
    if reason is not None:
        yield "not-supported", reason


def _unoffered(wanted: Filter, parameter: SearchParameter, offers: list[FilterDefinition]) -> Iterator[_Told]:
    """The modifier or comparators that the topic doesn't list (R-064)."""
    if wanted.modifier is not None and not any(_offers_modifier(one, wanted.modifier) for one in offers):
        yield "not-supported", f"the topic doesn't offer the modifier :{wanted.modifier}"
    offered = frozenset[Comparator]().union(*(one.comparators for one in offers))
    if parameter.type is ParameterType.COMPOSITE and not offered:
        return
    refused = comparators_used(wanted, parameter) - {Comparator.EQ} - offered
    if refused:
        yield "not-supported", f"the topic doesn't offer the comparator {', '.join(sorted(refused))}"


def _offers_modifier(offer: FilterDefinition, modifier: str) -> bool:
    """A type name as modifier is what topics list as `type`."""
    if modifier in offer.modifiers:
        return True
    return modifier_of(modifier) is Modifier.TYPE and Modifier.TYPE.value in offer.modifiers
