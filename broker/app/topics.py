"""Builds the topic catalog of a process and the worker that synchronizes it with the folder and the store."""

from broker.app.parts import Parts
from broker.fhir.documents import split
from broker.fhir.parameters import Parameters
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog
from broker.matching.registration import check_filters
from broker.model.subscription import Subscription
from broker.model.topic import Topic
from broker.settings import Settings
from broker.workers.topic_sync import Rules, TopicSync


def load_catalog(settings: Settings) -> Catalog:
    """The topics of BROKER_TOPICS_DIR. Raises `ConfigurationError` for a folder or file that cannot be
    loaded.
    """
    catalog = Catalog(parse_topic, Parameters())
    catalog.load(settings.topics_dir)
    return catalog


def build_topic_sync(parts: Parts, *, validates: bool) -> TopicSync:
    """`validates`: this process checks subscriptions against topics that changed."""

    def split_topic(body: bytes, topic_id: str) -> tuple[bytes, bytes]:
        return split(body, type="SubscriptionTopic", id=topic_id)

    def objection(subscription: Subscription, topic: Topic) -> str | None:
        problems = check_filters(subscription, topic, parts.search_context)
        return "; ".join(problem.text for problem in problems) or None

    def follow_references() -> None:
        parts.reverse_references.set_topics(parts.catalog.all())

    return TopicSync(
        parts.catalog,
        parts.topics,
        parts.subscriptions,
        parts.settings.topics_dir,
        Rules(parse_topic, split_topic, objection),
        tell=follow_references,
        validates=validates,
    )
