"""The element paths of the parts of a SubscriptionTopic.

They are the same in every release that has the resource.

`matching/` names a part by its position; `api/`, `services/` and `cli/` render it with this module.
"""

from broker.model.topic import CriteriaKind, TopicLocation, TopicPart

_ELEMENTS = {
    TopicPart.RESOURCE_TRIGGER: "resourceTrigger",
    TopicPart.EVENT_TRIGGER: "eventTrigger",
    TopicPart.FILTER_DEFINITION: "canFilterBy",
    TopicPart.NOTIFICATION_SHAPE: "notificationShape",
}
_CRITERIA = {CriteriaKind.QUERY: ".queryCriteria", CriteriaKind.FHIRPATH: ".fhirPathCriteria"}


def topic_element(location: TopicLocation) -> str:
    """The path below the topic, e.g. `resourceTrigger[0].queryCriteria`."""
    criteria = "" if location.criteria is None else _CRITERIA[location.criteria]
    return f"{_ELEMENTS[location.part]}[{location.position}]{criteria}"
