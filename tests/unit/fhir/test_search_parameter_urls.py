"""The canonicals of SearchParameters are those that HL7 published for each release."""

import pytest

from broker.fhir.search_parameter_urls import search_parameter_url
from broker.model.release import Release

CORE = "http://hl7.org/fhir/SearchParameter/"
GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/SearchParameter/"


@pytest.mark.parametrize(
    ("release", "resource_type", "code", "url"),
    [
        (Release.R4, "Subscription", "url", f"{CORE}Subscription-url"),
        (Release.R4, "Subscription", "_lastUpdated", f"{CORE}Resource-lastUpdated"),
        (Release.R4, "Subscription", "topic", f"{GUIDE}Subscription-topic"),
        (Release.R4B, "Subscription", "filter-criteria", f"{GUIDE}Subscription-filter-criteria"),
        (Release.R5, "Subscription", "topic", f"{CORE}Subscription-topic"),
        (Release.R5, "Subscription", "identifier", f"{CORE}Subscription-identifier"),
        (Release.R4, "Basic", "code", f"{CORE}Basic-code"),
        (Release.R4B, "SubscriptionTopic", "derived-or-self", f"{CORE}SubscriptionTopic-derived-or-self"),
        (Release.R5, "SubscriptionTopic", "url", f"{CORE}SubscriptionTopic-url"),
        (Release.R4B, "OperationDefinition", "url", f"{CORE}conformance-url"),
        (Release.R5, "OperationDefinition", "url", f"{CORE}CanonicalResource-url"),
        (Release.R5, "OperationDefinition", "code", f"{CORE}OperationDefinition-code"),
    ],
)
def test_canonicals(release: Release, resource_type: str, code: str, url: str) -> None:
    assert search_parameter_url(release, resource_type, code) == url
