"""What a topic offers to filter by and registration will refuse; told to its author, for HL7's own topics do so (R-066)."""

from collections.abc import Iterator

from broker.matching.chains import Chain, ends, read_chain
from broker.matching.definitions import find_parameter
from broker.matching.support import unsupported, unsupported_code
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, SearchParameter
from broker.model.topic import FilterDefinition, Topic


def unserved(topic: Topic, table: ParameterTable) -> list[str]:
    """One warning for each parameter, modifier or comparator that no subscription can have."""
    return [
        f"canFilterBy[{n}] {definition.parameter} {reason}: subscriptions that use it are refused"
        for n, definition in enumerate(topic.filters)
        for reason in _reasons(definition, topic, table)
    ]


def _reasons(definition: FilterDefinition, topic: Topic, table: ParameterTable) -> Iterator[str]:
    types = [definition.resource] if definition.resource else sorted(topic.focus_types)
    asked = Filter(definition.parameter, "")
    chain = read_chain(asked)
    name = definition.parameter if chain is None else chain.link
    found = [find_parameter(table, release, one, name, topic) for one in types for release in Release]
    parameters = [one for one in found if one is not None]
    if not parameters:
        defined = f" (nor is {definition.definition})" if definition.definition else ""
        yield unsupported_code(name) or f"is no search parameter of {' or '.join(types)}{defined}"
        return
    if chain is not None:
        try:
            parameters = _last(chain, parameters, table)
        except BadFilter as error:
            yield str(error)
            return
        asked = chain.last
    wanted = [asked]
    wanted += [Filter(asked.parameter, "", modifier=one) for one in sorted(definition.modifiers)]
    wanted += [Filter(asked.parameter, "", comparator=one) for one in sorted(definition.comparators)]
    for one in wanted:
        reasons = [unsupported(one, parameter) for parameter in parameters]
        if None not in reasons and reasons[0] is not None:
            yield reasons[0]


def _last(chain: Chain, references: list[SearchParameter], table: ParameterTable) -> list[SearchParameter]:
    """Raises BadFilter where no reference leads to such a parameter."""
    failure: BadFilter | None = None
    found: list[SearchParameter] = []
    for reference in references:
        try:
            found += [parameter for _, _, parameter in ends(chain, reference, table)]
        except BadFilter as error:
            failure = error
    if failure is not None and not found:
        raise failure
    return found
