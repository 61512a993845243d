"""Whether the filters of a subscription are ones its topic allows and this broker evaluates (R-064, R-065, R-173, R-408).

Nothing is accepted that matching would then ignore. A filter that names no type applies to the types for which the topic
offers its parameter; `filter_applies` says so to matching as well.
"""

from collections.abc import Callable, Iterator

from broker.errors import Issue
from broker.matching.fhirpath import BadExpression
from broker.matching.filters import (
    BadFilter,
    comparators_used,
    compile_filter,
    modifier_of,
    unsupported,
)
from broker.matching.triggers import ANY_TYPE
from broker.matching.values import BadValue
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier, ParameterTable, SearchParameter
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
) -> list[Issue]:
    """One issue for each filter that can't be honoured; `where` gives the FHIRPath of the filter with that index."""
    where = where or default_where(subscription.release)
    issues = []
    for n, wanted in enumerate(subscription.filters):
        told = next(_objections(wanted, subscription.release, topic, table, base_urls), None)
        if told is not None:
            issues.append(Issue(told[0], told[1], where(n)))
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
    offered = [one for one in topic.filters if one.parameter == wanted.parameter]
    return not offered or any(_is_for(one, resource_type) for one in offered)


def _is_for(definition: FilterDefinition, resource_type: str) -> bool:
    return definition.resource in {None, ANY_TYPE, resource_type}


def _types(wanted: Filter, topic: Topic) -> list[str]:
    """The focus types a filter would apply to; a topic about every type adds those its filters name."""
    focus = set(topic.focus_types)
    if wanted.resource_type is not None:
        return [wanted.resource_type] if focus & {wanted.resource_type, ANY_TYPE} else []
    if ANY_TYPE in focus:
        focus |= {one.resource for one in topic.filters if one.resource is not None}
    return sorted(one for one in focus if filter_applies(wanted, topic, one))


def _objections(
    wanted: Filter, release: Release, topic: Topic, table: ParameterTable, base_urls: frozenset[str]
) -> Iterator[_Told]:
    name = wanted.parameter
    if wanted.modifier is not None and wanted.comparator is not None:
        yield "invalid", f"filter {name}: a comparator and a modifier exclude each other"
    types = _types(wanted, topic)
    if not types:
        yield (
            "not-supported",
            f"filter {name}: the topic never notifies about {wanted.resource_type or 'its type'}",
        )
    offers_by_type = {
        one: [offer for offer in topic.filters if offer.parameter == name and _is_for(offer, one)]
        for one in types
    }
    if not any(offers_by_type.values()):
        of_type = f" of {wanted.resource_type}" if wanted.resource_type else ""
        yield "not-supported", f"filter {name}: the topic can't be filtered by {name}{of_type}"
    found = {one: _find(table, release, one, name) for one in types}
    if not any(found.values()):
        yield "not-supported", f"filter {name}: no search parameter {name} of {' or '.join(types)} is known"
    for one, parameter in found.items():
        if parameter is not None:
            yield from _parameter_objections(wanted, parameter, offers_by_type[one], base_urls, release)


def _parameter_objections(
    wanted: Filter,
    parameter: SearchParameter,
    offers: list[FilterDefinition],
    base_urls: frozenset[str],
    release: Release,
) -> Iterator[_Told]:
    name = wanted.parameter
    reason = unsupported(wanted, parameter)
    if reason is not None:
        yield "not-supported", f"filter {name} {reason}"
    if wanted.modifier is not None and not any(_offers_modifier(one, wanted.modifier) for one in offers):
        yield "not-supported", f"filter {name}: the topic doesn't offer the modifier :{wanted.modifier}"
    try:
        used = comparators_used(wanted, parameter) - {Comparator.EQ}
        refused = used - frozenset[Comparator]().union(*(one.comparators for one in offers))
        if refused:
            listed = ", ".join(sorted(refused))
            yield "not-supported", f"filter {name}: the topic doesn't offer the comparator {listed}"
        compile_filter(wanted, parameter, base_urls, release)
    except BadValue as error:
        yield "value", f"filter {name}: {error}"
    except (BadFilter, BadExpression) as error:
        yield "not-supported", f"filter {name}: {error}"


def _offers_modifier(offer: FilterDefinition, modifier: str) -> bool:
    """A type name as modifier is what topics list as `type`."""
    if modifier in offer.modifiers:
        return True
    return modifier_of(modifier) is Modifier.TYPE and Modifier.TYPE.value in offer.modifiers


def _find(table: ParameterTable, release: Release, resource_type: str, code: str) -> SearchParameter | None:
    """In the subscription's release, else in any that knows it: resources of several releases meet one subscription."""
    for one in (release, *Release):
        parameter = table.find(one, resource_type, code)
        if parameter is not None:
            return parameter
    return None
