"""Topics as the commands show them, read from SubscriptionTopic resources of R5."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.fhir.payload_elements import PAYLOAD_ELEMENT
from broker.model.wording import shorten_list

Fields = Mapping[str, Any]
"""A FHIR resource, or an element of it, as JSON."""


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A topic in the list."""

    id: str
    topic: str
    status: str
    focus: list[str]
    filters: list[str]
    elements: list[str]

    @classmethod
    def of(cls, document: Fields) -> "TopicRow":
        """From the resource."""
        return cls(
            id=document["id"],
            topic=_canonical(document),
            status=document["status"],
            focus=_focus_types(document),
            filters=[item["filterParameter"] for item in document.get("canFilterBy", [])],
            elements=_elements(document),
        )


@dataclass(frozen=True, slots=True)
class TopicDetails:
    """One topic. `document` is the resource."""

    id: str
    topic: str
    status: str
    title: str | None
    description: str | None
    triggers: list[str]
    filters: list[str]
    includes: list[str]
    elements: list[str]
    document: Fields

    @classmethod
    def of(cls, document: Fields) -> "TopicDetails":
        """From the resource."""
        return cls(
            id=document["id"],
            topic=_canonical(document),
            status=document["status"],
            title=document.get("title"),
            description=document.get("description"),
            triggers=list(_triggers(document)),
            filters=[_filter(item) for item in document.get("canFilterBy", [])],
            includes=[
                include
                for shape in document.get("notificationShape", [])
                for include in (*shape.get("include", []), *shape.get("revInclude", []))
            ],
            elements=_elements(document),
            document=document,
        )


def _canonical(document: Fields) -> str:
    return f"{document['url']}|{document['version']}" if "version" in document else str(document["url"])


def _focus_types(document: Fields) -> list[str]:
    triggers = (*document.get("resourceTrigger", []), *document.get("eventTrigger", []))
    return sorted({_type_name(trigger) for trigger in triggers})


def _type_name(element: Fields) -> str:
    return str(element.get("resource", "")).rpartition("/")[2]


def _triggers(document: Fields) -> Iterator[str]:
    """Each trigger in a line: `Observation on create or update; current: status=final; fhirPath: …`."""
    for trigger in document.get("resourceTrigger", []):
        parts = [_type_name(trigger)]
        if "supportedInteraction" in trigger:
            parts[0] += f" on {' or '.join(trigger['supportedInteraction'])}"
        query = trigger.get("queryCriteria", {})
        parts += [f"{name}: {_query(query[name])}" for name in ("previous", "current") if name in query]
        if "fhirPathCriteria" in trigger:
            parts.append(f"fhirPath: {trigger['fhirPathCriteria']}")
        yield "; ".join(parts)
    for trigger in document.get("eventTrigger", []):
        codings = trigger.get("event", {}).get("coding", [])
        codes = ", ".join(f"{coding.get('system', '')}|{coding.get('code', '')}" for coding in codings)
        yield f"{_type_name(trigger)} on the event {codes}"


def _elements(document: Fields) -> list[str]:
    """The elements to which the topic limits resources, a text a type: `Patient: birthDate, name`."""
    names = {
        str(extension.get("valueString"))
        for shape in document.get("notificationShape", [])
        for extension in shape.get("extension", [])
        if extension.get("url") == PAYLOAD_ELEMENT
    }
    by_type: dict[str, list[str]] = {}
    for name in sorted(names):
        resource_type, _, element = name.partition(".")
        by_type.setdefault(resource_type, []).append(element)
    return [f"{resource_type}: {', '.join(elements)}" for resource_type, elements in by_type.items()]


def _query(text: str) -> str:
    """The terms of a query, long lists shortened; `document` has them whole."""
    terms = (term.partition("=") for term in text.split("&"))
    return " & ".join(f"{name}{separator}{shorten_list(value)}" for name, separator, value in terms)


def _filter(item: Fields) -> str:
    """A filter with what may follow its name: `value-quantity (gt, lt)`."""
    options = ", ".join([*item.get("comparator", []), *(f":{name}" for name in item.get("modifier", []))])
    resource = f"{_type_name(item)}?" if "resource" in item else ""
    return f"{resource}{item['filterParameter']}" + (f" ({options})" if options else "")
