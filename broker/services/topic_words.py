"""Says in plain words what a topic fires on, what its subscribers may filter by and what notifications carry,
and what the filters of a Subscription let through. Pure; the console shows it.
"""

from collections.abc import Sequence

from broker.model.change import Interaction
from broker.model.search import Comparator, Filter
from broker.model.topic import EventTrigger, FilterDefinition, NotificationShape, ResourceTrigger, Topic
from broker.model.wording import shorten_list

_PAST = {Interaction.CREATE: "created", Interaction.UPDATE: "updated", Interaction.DELETE: "deleted"}
_COMPARED = {
    Comparator.EQ: "is",
    Comparator.NE: "is not",
    Comparator.GT: "is greater than",
    Comparator.LT: "is less than",
    Comparator.GE: "is at least",
    Comparator.LE: "is at most",
    Comparator.SA: "starts after",
    Comparator.EB: "ends before",
    Comparator.AP: "is about",
}
_MODIFIED = {
    "not": "is not",
    "exact": "is exactly",
    "contains": "contains",
    "text": "has the text",
    "in": "is in the value set",
    "not-in": "is not in the value set",
    "below": "is or is below",
    "above": "is or is above",
    "identifier": "has the identifier",
    "of-type": "has the identifier of the type",
}
_ALL = "every resource"


def triggers_in_words(topic: Topic) -> list[str]:
    """A sentence for each trigger."""
    return [
        *(_resource_trigger(trigger) for trigger in topic.resource_triggers),
        *(_event_trigger(trigger) for trigger in topic.event_triggers),
    ]


def filter_in_words(wanted: Filter) -> str:
    """What a filter lets through, such as `Observation: code is http://loinc.org|4548-4`."""
    subject = f"{wanted.resource_type}: {wanted.parameter}" if wanted.resource_type else wanted.parameter
    if wanted.modifier == "missing":
        return f"{subject} is {'absent' if wanted.value == 'true' else 'present'}"
    if wanted.modifier is not None:
        verb = _MODIFIED.get(wanted.modifier, f"refers to a {wanted.modifier} that is")
    else:
        verb = _COMPARED[wanted.comparator or Comparator.EQ]
    return f"{subject} {verb} {_alternatives(wanted.value)}"


def offered_filter_in_words(definition: FilterDefinition) -> str:
    """What a subscriber may filter by, with what the comparison may be."""
    subject = definition.parameter
    if definition.resource is not None:
        subject = f"{definition.resource}: {subject}"
    options = [
        *(_COMPARED[comparator] for comparator in Comparator if comparator in definition.comparators),
        *(f":{modifier}" for modifier in sorted(definition.modifiers)),
    ]
    return f"{subject} ({', '.join(options)})" if options else subject


def shape_in_words(shape: NotificationShape) -> list[str]:
    """What a notification about the type has besides its focus; nothing for a shape without a rule."""
    sentences = [f"includes {each}" for each in (*shape.include, *shape.rev_include)]
    sentences += [f"names the query {query.query}" for query in shape.related]
    if shape.elements:
        sentences.append(f"has only {', '.join(shape.elements)} and the mandatory elements")
    return [f"{shape.resource}: {sentence}" for sentence in sentences]


def _resource_trigger(trigger: ResourceTrigger) -> str:
    verbs = [_PAST[interaction] for interaction in Interaction if interaction in trigger.interactions]
    sentence = f"{_type(trigger.resource)} is {_any(verbs)}"
    conditions = []
    query = trigger.query
    if query is not None:
        states = []
        if query.previous is not None:
            states.append(f"before it met {_query(query.previous)}")
        if query.current is not None:
            states.append(f"now it meets {_query(query.current)}")
        conditions.append((" and " if query.require_both else " or ").join(states))
    if trigger.fhirpath is not None:
        conditions.append(f"the FHIRPath holds: {trigger.fhirpath}")
    conditions = [condition for condition in conditions if condition]
    if conditions:
        sentence += f", and {_any(conditions)}"
    return sentence


def _event_trigger(trigger: EventTrigger) -> str:
    events = [coding.display or f"{coding.system or ''}|{coding.code}" for coding in trigger.codings]
    return f"a producer reports the event {_any(events)} about {_type(trigger.resource)}"


def _type(name: str) -> str:
    return _ALL if name == "Resource" else name


def _query(text: str) -> str:
    terms = (term.partition("=") for term in text.split("&"))
    return " and ".join(f"{name}{separator}{shorten_list(value)}" for name, separator, value in terms)


def _alternatives(value: str) -> str:
    return shorten_list(value).replace(",", " or ").replace("  ", " ")


def _any(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
