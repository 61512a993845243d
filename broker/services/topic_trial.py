"""Tries a SubscriptionTopic before it is stored: its errors, and which of the last changes it fires on.

It writes nothing. `$try` of the HTTP API and the page of the console call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.matching.problems import TopicProblem
from broker.model.principal import Principal
from broker.model.resource import Resource
from broker.model.topic import Topic
from broker.services.dry_run import DEFAULT_COUNT, DryRunReport, DryRunService
from broker.services.topics import TopicService


@dataclass(frozen=True, slots=True)
class TopicTrial:
    """The outcome. `report` is None where an error keeps the topic from being stored. `replaced` is the topic
    that has its id now.
    """

    topic: Topic
    problems: Sequence[TopicProblem]
    report: DryRunReport | None
    replaced: Topic | None


class TopicTrialService:
    """Checks as storing a topic does, and matches as `$dry-run` does."""

    def __init__(self, topics: TopicService, dry_run: DryRunService) -> None:
        self._topics = topics
        self._dry_run = dry_run

    async def run(self, principal: Principal, resource: Resource, count: int = DEFAULT_COUNT) -> TopicTrial:
        """Examines the newest `count` changes that the principal may see, unless the topic has an error.

        Raises `Malformed` or `Unprocessable` for what is no topic.
        """
        topic, problems = self._topics.examine(resource)
        report: DryRunReport | None = None
        if not any(problem.is_error for problem in problems):
            report = await self._dry_run.run_topic(principal, topic, count)
        replaced = self._topics.find(principal, topic.id) if resource.id else None
        return TopicTrial(topic, problems, report, replaced)
