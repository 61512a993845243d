"""Renders the answer of `SubscriptionTopic/$try` as a Parameters resource."""

from broker.api.dry_run import examined_changes
from broker.api.named_values import Part, render, text
from broker.errors import Unprocessable
from broker.fhir.topic_elements import topic_element
from broker.matching.problems import TopicProblem
from broker.services.topic_trial import TopicTrial
from broker.services.topic_words import offered_filter_in_words, shape_in_words, triggers_in_words
from broker.services.topics import issue_of


def render_topic_trial(trial: TopicTrial) -> bytes:
    """The topic in words, its warnings, and the changes that it fires on.

    Raises `Unprocessable` with all errors where the topic cannot be stored.
    """
    if trial.report is None:
        raise Unprocessable(*(issue_of(problem) for problem in trial.problems if problem.is_error))
    topic = trial.topic
    return render(
        text("topic", topic.canonical),
        text("replaces", trial.replaced.canonical if trial.replaced is not None else None),
        *(_warning(problem) for problem in trial.problems),
        *(text("trigger", words) for words in triggers_in_words(topic)),
        *(text("filter", offered_filter_in_words(each)) for each in topic.filters),
        *(text("notification", words) for shape in topic.shapes for words in shape_in_words(shape)),
        *examined_changes(trial.report),
    )


def _warning(problem: TopicProblem) -> list[Part]:
    place = "" if problem.location is None else f"{topic_element(problem.location)}: "
    return text("warning", f"{place}{problem.text}")
