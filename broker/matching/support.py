"""Which filters the broker can evaluate exactly, and why it can't evaluate the others (R-408).

Registration refuses every filter that is not supported, so the broker never accepts a filter and then ignores
it.
"""

from broker.matching.references import reference_targets
from broker.matching.values import split, split_prefix
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

ORDERED = frozenset({ParameterType.NUMBER, ParameterType.DATE, ParameterType.QUANTITY})
_MODIFIERS = {modifier.value: modifier for modifier in Modifier}
_IMPLEMENTED = {
    ParameterType.NUMBER: {Modifier.MISSING},
    ParameterType.DATE: {Modifier.MISSING},
    ParameterType.QUANTITY: {Modifier.MISSING},
    ParameterType.STRING: {Modifier.MISSING, Modifier.EXACT, Modifier.CONTAINS, Modifier.TEXT},
    ParameterType.TOKEN: {
        Modifier.MISSING,
        Modifier.NOT,
        Modifier.TEXT,
        Modifier.CODE_TEXT,
        Modifier.OF_TYPE,
        Modifier.IN,
        Modifier.NOT_IN,
        Modifier.ABOVE,
        Modifier.BELOW,
    },
    ParameterType.REFERENCE: {
        Modifier.MISSING,
        Modifier.IDENTIFIER,
        Modifier.TYPE,
        Modifier.TEXT,
        Modifier.CODE_TEXT,
    },
    ParameterType.URI: {Modifier.MISSING, Modifier.BELOW, Modifier.ABOVE, Modifier.CONTAINS},
    ParameterType.COMPOSITE: set[Modifier](),
    ParameterType.SPECIAL: set[Modifier](),
}
_MODIFIER_REASONS = {
    Modifier.TEXT_ADVANCED: "does not support :text-advanced: each server defines it differently",
    Modifier.ITERATE: "does not support :iterate: that is for included resources, not for filters",
}
_CODE_REASONS = {
    "_in": "is not evaluated: a Group may be defined by traits, and changes without the resource",
    "_has": "is not evaluated: it is about resources that refer to the changed resource",
    "_list": "is not evaluated: membership in a List changes without the resource",
    "_text": "is not evaluated: each server defines text search differently",
    "_content": "is not evaluated: each server defines text search differently",
    "_filter": "is not evaluated: a filter is one parameter and value",
    "_query": "is not evaluated: each server defines its own named queries",
    "_type": "is not evaluated: the topic defines the resource types",
    "phonetic": "is not evaluated: each server uses its own phonetic algorithm",
}
_SELECT_NOTHING = frozenset(
    {
        ("code-value-concept", "Device"),
        ("value-canonical", "Observation.value.ofType(canonical)"),
        ("component-value-canonical", "Observation.component.value.ofType(canonical)"),
    }
)
"""Published parameters, by code and expression, that read elements which their type does not have."""


def unsupported_code(code: str) -> str | None:
    """Why a parameter of that name can't be evaluated on a change alone; None if it can (R-409)."""
    return _CODE_REASONS.get(code)


def unsupported(filter_: Filter, parameter: SearchParameter) -> str | None:
    """Why the filter can't be evaluated, for its author; None if it can (R-408).

    Does not examine the value.
    """
    reason = unsupported_code(parameter.code)
    if reason is not None:
        return reason
    if parameter.type is ParameterType.SPECIAL:
        return "is a special parameter, which is not evaluated"
    if not parameter.expression:
        return "has no expression to evaluate"
    if (parameter.code, parameter.expression) in _SELECT_NOTHING:
        return "is not evaluated: its published expression reads an element that does not exist"
    if parameter.type is ParameterType.COMPOSITE and not _is_evaluable(parameter):
        return "has components that are not evaluated"
    if filter_.modifier is not None:
        if filter_.comparator is not None:
            return "takes either a comparator or a modifier"
        return _unsupported_modifier(filter_.modifier, parameter)
    if filter_.comparator not in {None, Comparator.EQ} and parameter.type not in ORDERED:
        return f"is a {parameter.type} parameter, which takes no comparator"
    return None


def modifier_of(text: str) -> Modifier | None:
    """The modifier that the text of a filter means; a type name means `type` (R-406). None for an unknown
    word.
    """
    if text[:1].isupper():
        return Modifier.TYPE
    return _MODIFIERS.get(text)


def comparators_used(filter_: Filter, parameter: SearchParameter) -> frozenset[Comparator]:
    """The comparators of a filter: its own, and the prefixes in its value, also in parts of a composite."""
    if filter_.modifier is not None:
        return frozenset()
    comparators = {filter_.comparator or Comparator.EQ}
    if filter_.comparator is None:
        for text in split(filter_.value, ","):
            if parameter.type is ParameterType.COMPOSITE:
                parts = zip(parameter.components, split(text, "$"), strict=False)
                comparators |= {
                    split_prefix(part)[0] for component, part in parts if component.type in ORDERED
                }
            elif parameter.type in ORDERED:
                comparators.add(split_prefix(text)[0])
    return frozenset(comparators)


def _is_evaluable(composite: SearchParameter) -> bool:
    unsupported_types = {ParameterType.SPECIAL, ParameterType.COMPOSITE}
    return bool(composite.components) and all(
        component.type not in unsupported_types for component in composite.components
    )


def _unsupported_modifier(text: str, parameter: SearchParameter) -> str | None:
    modifier = modifier_of(text)
    if modifier is None:
        return f"has no modifier :{text}"
    if modifier in _MODIFIER_REASONS:
        return _MODIFIER_REASONS[modifier]
    if modifier not in _IMPLEMENTED[parameter.type]:
        return f"is a {parameter.type} parameter, for which :{text} is not defined or not evaluated"
    targets = reference_targets(parameter)
    if modifier is Modifier.TYPE and text[0].isupper() and targets and text not in targets:
        return f"never refers to {text}, only to {', '.join(targets)}"
    return None
