"""Filter strings of the backport: they are read or refused, and what was read is written and read alike.

The first line is the string; each filter is registered for a topic that offers it, and, if it is accepted,
evaluated on resources of each shipped example type.
"""

from dataclasses import replace

from broker.fhir.filter_strings import parse_filter_string, render_filter_string
from broker.matching.definitions import find_in_any
from broker.matching.fhirpath import BadExpression
from broker.matching.filters import compile_filter
from broker.matching.problems import EvaluationFailed
from broker.matching.registration import check_filters
from broker.matching.values import BadFilter, BadValue
from broker.model.release import Release
from broker.model.search import Comparator, Filter, Modifier
from broker.model.topic import FilterDefinition
from tests.fuzz.samples import CONTEXT, RESOURCES, SUBSCRIPTION, TOPIC
from tests.fuzz.target import Target, text_of


def check(data: bytes) -> None:
    text = text_of(data)
    try:
        filters = parse_filter_string(text)
    except ValueError:
        return
    for filter_ in filters:
        assert parse_filter_string(render_filter_string(filter_)) == [filter_], filter_
        _evaluate(filter_)


def _evaluate(filter_: Filter) -> None:
    offer = FilterDefinition(
        filter_.parameter, filter_.resource_type, frozenset(Comparator), frozenset(Modifier)
    )
    topic = replace(TOPIC, filters=(offer,))
    for release in Release:
        check_filters(SUBSCRIPTION.changed(release=release, filters=(filter_,)), topic, CONTEXT)
        for resource in RESOURCES:
            parameter = find_in_any(
                CONTEXT.parameters, release, resource["resourceType"], filter_.parameter, topic
            )
            if parameter is None:
                continue
            try:
                passes = compile_filter(filter_, parameter, release, CONTEXT)
            except (BadFilter, BadValue, BadExpression):
                continue
            try:
                passes(resource)
            except EvaluationFailed:
                continue


TARGET = Target(
    check,
    [
        "patient=Patient/1",
        "Observation?code=http://loinc.org|8867-4&value-quantity=gt5.4|http://unitsofmeasure.org|mg",
        "Observation.patient:identifier=s|v",
        "code:not=a,b",
        "code:in=http://example.org/vs",
        "patient.gender=male",
        "subject:Patient.name:exact=x",
        "date=ge2024-01-01T10:00:00+01:00",
        r"family=a\,b\|c\$d\\e",
        "combo-code-value-quantity=8867-4$gt60",
        "code=http%3A%2F%2Floinc.org%7C8867-4",
        "_id=a",
        "_lastUpdated=ap2024",
        "_has:Observation:patient:code=x",
        "code:missing=true",
        "Encounter?",
        "=&=",
        "%",
        "a=%ff%fe",
        "code:of-type=a|b|c",
        "identifier:of-type=a|b|c",
        "code:below=a|b",
        "value-quantity=1e400",
        "probability=0.1",
        "&Patient.code:missing=true",
        "code=a&status:not?x=b",
        "code=a&status:not%26x=b",
    ],
    r"""
    Observation? Patient. :not :missing :exact :contains :identifier :of-type :below %7C | $ \, & = code
    value-quantity date patient name gt ap http:// combo-code-value-quantity _lastUpdated birthdate true
    """,
)
