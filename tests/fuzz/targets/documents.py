"""JSON documents: read, checked for their structure, and stored with their version, or refused.

The first line names release and type, the rest is the document.
"""

import json

from broker.errors import RequestError
from broker.fhir.identifiers import identifiers
from broker.fhir.references import conditional_references, patient_reference
from broker.fhir.transaction_links import LinkTargets, replace_links
from broker.fhir.validation import validate
from broker.model.release import Release
from broker.model.resource import Resource
from tests.fuzz.samples import OBSERVATION, PATIENT
from tests.fuzz.target import Target

_TYPES = frozenset({"Observation", "Patient", "Encounter", "Device", "Bundle", "Parameters", "Basic"})


def check(data: bytes) -> None:
    head, _, text = data.partition(b"\n")
    release_name, _, name = head.decode("latin-1").partition(" ")
    release = Release(release_name) if release_name in set(Release) else Release.R4
    type_name = name if name in _TYPES else "Observation"
    resource = Resource(text)
    try:
        resource.fields  # noqa: B018 reads the text
    except RequestError:
        return
    json.loads(text)
    try:
        stored = resource.without_version(type=type_name, id="a").with_version(3, 1_700_000_000_000)
        assert stored.fields["meta"]["versionId"] == "3"
        patient_reference(resource)
        identifiers(resource)
        conditional_references(resource)
        replace_links(resource, LinkTargets({"urn:uuid:a": "Patient/1"}, {})).fields  # noqa: B018 reads the text
        validate(release, type_name, resource)
    except RequestError:
        return
    validate(release, type_name, stored)


_CONTAINED = (
    '{"resourceType":"Patient","contained":[{"resourceType":"Device","id":"d"}],"text":{"status":"empty"}}'
)
TARGET = Target(
    check,
    [
        "r4 Observation\n" + json.dumps(OBSERVATION),
        "r5 Patient\n" + json.dumps(PATIENT),
        "r4b Patient\n" + _CONTAINED,
        'r4 Parameters\n{"resourceType":"Parameters","parameter":[{"name":"a","valueDecimal":1.10}]}',
        'r5 Bundle\n{"resourceType":"Bundle","type":"batch","entry":[{"request":{"url":"a"}}]}',
        "r4 Observation\n{}",
        "r4 Observation\n[]",
        "r4 Observation\nnull",
        'r4 Observation\n{"resourceType":"Observation","resourceType":"Patient"}',
        'r4 Observation\n{"resourceType":["Observation"],"id":{},"meta":[]}',
        'r4 Patient\n{"resourceType":"Patient","name":[null,{"family":""}],"_birthDate":{"extension":[]}}',
        'r4 Patient\n{"resourceType":"Patient","identifier":[{"system":"\\u0000","value":"\\ud83d\\ude00"}]}',
        'r4 Observation\n{"a":1e400,"b":1E-400,"c":' + "9" * 400 + "}",
        "r4 Observation\n" + '{"a":' * 70 + "1" + "}" * 70,
        "r4 Observation\n" + "[" * 3000,
        b'r4 Observation\n{"a":"\xff"}',
        b'r4 Observation\n\xef\xbb\xbf{"resourceType":"Observation"}',
    ],
    r"""
    "resourceType" "Observation" "contained":[ "extension":[{"url":"a"}] null 1e400 -0 1.0
    "meta":{"versionId":"1"} "_id":{} "valueQuantity": "reference":"urn:uuid:a" \u0000 {} []
    """,
    max_bytes=3000,
)
