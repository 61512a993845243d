"""Refuses a topic that offers a filter which no subscription can use (R-066).

Such a topic would be advertised, and every subscription that uses the filter refused.
"""

from collections.abc import Iterator

from broker.matching.chains import Chain, chain_ends, read_chain
from broker.matching.definitions import find_parameter
from broker.matching.problems import TopicProblem
from broker.matching.support import unsupported, unsupported_code
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, SearchParameter
from broker.model.topic import FilterDefinition, Topic, TopicLocation, TopicPart


def check_offers(topic: Topic, parameters: ParameterTable) -> Iterator[TopicProblem]:
    """One error for each parameter, modifier or comparator that no subscription can use."""
    for index, definition in enumerate(topic.filters):
        location = TopicLocation(TopicPart.FILTER_DEFINITION, index)
        for reason in _reasons(definition, topic, parameters):
            text = f"{definition.parameter} {reason}; a topic must not offer a filter that can't be evaluated"
            yield TopicProblem(text, location)


def _reasons(definition: FilterDefinition, topic: Topic, table: ParameterTable) -> Iterator[str]:
    if ":" in definition.parameter:
        yield "has a colon: list modifiers as `modifier`, and name the type of a chain nowhere"
        return
    types = [definition.resource] if definition.resource else sorted(topic.focus_types)
    plain = Filter(definition.parameter, "")
    chain = read_chain(plain)
    name = definition.parameter if chain is None else chain.link
    parameters = [
        parameter
        for resource_type in types
        for release in Release
        if (parameter := find_parameter(table, release, resource_type, name, topic)) is not None
    ]
    if not parameters:
        neither = f" (nor is {definition.definition})" if definition.definition else ""
        yield unsupported_code(name) or f"is not a search parameter of {' or '.join(types)}{neither}"
        return
    if chain is not None:
        try:
            parameters = _end_parameters(chain, parameters, table)
        except BadFilter as error:
            yield str(error)
            return
        plain = chain.last
    filters = [plain]
    filters += [Filter(plain.parameter, "", modifier=modifier) for modifier in sorted(definition.modifiers)]
    filters += [
        Filter(plain.parameter, "", comparator=comparator) for comparator in sorted(definition.comparators)
    ]
    for filter_ in filters:
        reasons = [unsupported(filter_, parameter) for parameter in parameters]
        if None not in reasons and reasons[0] is not None:
            yield reasons[0]


def _end_parameters(
    chain: Chain, references: list[SearchParameter], table: ParameterTable
) -> list[SearchParameter]:
    """Raises BadFilter if no reference leads to a resource that has the parameter."""
    failure: BadFilter | None = None
    parameters: list[SearchParameter] = []
    for reference in references:
        try:
            parameters += [end.parameter for end in chain_ends(chain, reference, table)]
        except BadFilter as error:
            failure = error
    if failure is not None and not parameters:
        raise failure
    return parameters
