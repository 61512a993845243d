"""Which resource types the notifications of a subscription expose: who registers it has to be able to read
them (R-179, R-450).
"""

from collections.abc import Iterator

from broker.matching.chains import chain_ends, read_chain
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE, find_in_any
from broker.matching.references import reference_targets
from broker.matching.registration import filter_applies, sends
from broker.matching.shapes import parse_inclusion
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.subscription import PayloadContent, Subscription
from broker.model.topic import Topic


def exposed_types(subscription: Subscription, topic: Topic, context: SearchContext) -> frozenset[str]:
    """The types of the foci, the types whose elements a chained filter tests, and with full-resource the
    types of the resources that the topic includes. `Resource` stands for every type.

    The subscription was accepted: its filters are valid.
    """
    foci = _foci(subscription, topic)
    types = {*foci, *tested_types(subscription, topic, context)}
    if subscription.channel.content is PayloadContent.FULL_RESOURCE:
        for focus in foci:
            types.update(_included_types(focus, topic, context))
    return frozenset(types)


def tested_types(subscription: Subscription, topic: Topic, context: SearchContext) -> frozenset[str]:
    """The types whose elements a chained filter of the subscription tests."""
    return frozenset(
        tested
        for focus in _foci(subscription, topic)
        for filter_ in subscription.filters
        if filter_applies(filter_, topic, focus)
        for tested in _tested_types(filter_, subscription.release, focus, topic, context)
    )


def _foci(subscription: Subscription, topic: Topic) -> set[str]:
    return {focus for focus in topic.focus_types if sends(subscription.filters, topic, focus)}


def _tested_types(
    filter_: Filter, release: Release, focus: str, topic: Topic, context: SearchContext
) -> Iterator[str]:
    chain = read_chain(filter_)
    if chain is None:
        return
    source = focus if focus != ANY_TYPE else filter_.resource_type or ANY_TYPE
    reference = find_in_any(context.parameters, release, source, chain.link, topic)
    if reference is not None:
        yield from (end.resource_type for end in chain_ends(chain, reference, context.parameters))


def _included_types(focus: str, topic: Topic, context: SearchContext) -> Iterator[str]:
    for shape in topic.shapes:
        if shape.resource not in {focus, ANY_TYPE}:
            continue
        for text in shape.rev_include:
            if (inclusion := parse_inclusion(text)) is not None:
                yield inclusion.source
        for text in shape.include:
            inclusion = parse_inclusion(text)
            if inclusion is None:
                continue
            if inclusion.target is not None:
                yield inclusion.target
                continue
            for release in Release:
                parameter = context.parameters.find(release, inclusion.source, inclusion.parameter)
                if parameter is not None:
                    yield from reference_targets(parameter)
