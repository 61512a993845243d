"""Builds the topic catalog of a process and the worker that keeps it in step with folder and store."""

from broker.app.parts import Parts
from broker.fhir.search_parameters import SearchParameters
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog
from broker.settings import Settings
from broker.workers.topic_sync import TopicSync
from broker.workers.topic_validation import TopicValidator


def load_catalog(settings: Settings) -> Catalog:
    """The topics of BROKER_TOPICS_DIR. Raises `ConfigurationError` for a folder or file that cannot be
    loaded.
    """
    catalog = Catalog(parse_topic, SearchParameters())
    catalog.load(settings.topics_dir)
    return catalog


def build_topic_sync(parts: Parts, *, validates: bool) -> TopicSync:
    """`validates`: this process checks the subscriptions of topics that changed."""
    validator = TopicValidator(parts.catalog, parts.topics, parts.subscriptions, parts.search_context)
    return TopicSync(
        parts.catalog,
        parts.topics,
        parts.settings.topics_dir,
        parts.reverse_references,
        validator if validates else None,
    )
