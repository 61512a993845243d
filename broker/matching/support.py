"""Which filters can be evaluated exactly, and in words why the others can't (R-408).

What is named here is refused at registration, so that no filter is accepted and then ignored.
"""

from broker.matching.references import reference_targets
from broker.matching.values import split, split_prefix
from broker.model.search import Comparator, Filter, Modifier, ParameterType, SearchParameter

ORDERED = frozenset({ParameterType.NUMBER, ParameterType.DATE, ParameterType.QUANTITY})
_MODIFIERS = {one.value: one for one in Modifier}
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
    Modifier.TEXT_ADVANCED: "takes no :text-advanced here: what it matches is left to each server, so it can't be exact",
    Modifier.ITERATE: "takes no :iterate: that is for what a search includes, a filter includes nothing",
}
_CODE_REASONS = {
    "_in": "is not evaluated: a Group may be defined by traits instead of members, and changes without the resource",
    "_has": "is not evaluated: it asks for resources that refer to the one that changed",
    "_list": "is not evaluated: membership in a List changes without the resource",
    "_text": "is not evaluated: what text search finds is left to each server",
    "_content": "is not evaluated: what text search finds is left to each server",
    "_filter": "is not evaluated: a filter is one parameter and value",
    "_query": "is not evaluated: named queries are each server's own",
    "_type": "is not evaluated: a topic tells its types itself",
    "phonetic": "is not evaluated: the algorithm of sounds is left to each server",
}


def unsupported_code(code: str) -> str | None:
    """Why a parameter of that name can't be evaluated by anyone who sees changes only; None for all others (R-409)."""
    return _CODE_REASONS.get(code)


def unsupported(wanted: Filter, parameter: SearchParameter) -> str | None:
    """Why the filter can't be evaluated, in words for its author; None where it can (R-408). The value is not looked at."""
    reason = unsupported_code(parameter.code)
    if reason is not None:
        return reason
    if parameter.type is ParameterType.SPECIAL:
        return "is a special parameter, which is not evaluated"
    if not parameter.expression:
        return "has no expression to evaluate"
    if parameter.type is ParameterType.COMPOSITE and not _is_evaluable(parameter):
        return "has components that are not evaluated"
    if wanted.modifier is not None:
        if wanted.comparator is not None:
            return "takes a comparator or a modifier, not both"
        return _unsupported_modifier(wanted.modifier, parameter)
    if wanted.comparator not in {None, Comparator.EQ} and parameter.type not in ORDERED:
        return f"is a {parameter.type} parameter, which takes no comparator"
    return None


def modifier_of(text: str) -> Modifier | None:
    """The modifier a filter's text means; a type name is `type` (R-406). None for an unknown word."""
    if text[:1].isupper():
        return Modifier.TYPE
    return _MODIFIERS.get(text)


def comparators_used(wanted: Filter, parameter: SearchParameter) -> frozenset[Comparator]:
    """The comparators a filter asks for: its own and the prefixes within its value, parts of a composite included."""
    if wanted.modifier is not None:
        return frozenset()
    found = {wanted.comparator or Comparator.EQ}
    if wanted.comparator is None:
        for text in split(wanted.value, ","):
            if parameter.type is ParameterType.COMPOSITE:
                parts = zip(parameter.components, split(text, "$"), strict=False)
                found |= {split_prefix(part)[0] for one, part in parts if one.type in ORDERED}
            elif parameter.type in ORDERED:
                found.add(split_prefix(text)[0])
    return frozenset(found)


def _is_evaluable(composite: SearchParameter) -> bool:
    beyond = {ParameterType.SPECIAL, ParameterType.COMPOSITE}
    return bool(composite.components) and all(one.type not in beyond for one in composite.components)


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
