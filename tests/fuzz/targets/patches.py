"""Patches of a Patient: applied with numbers as they are spelled, or refused.

The first line is the release and `json` or `fhirpath`, the rest the patch.
"""

import json

from broker.errors import RequestError
from broker.ingest.patches import apply_patch, parse_patch
from broker.model.json_patch import parse_json_patch
from broker.model.release import Release
from broker.model.resource import Resource
from tests.fuzz.samples import PATIENT
from tests.fuzz.target import Target
from tests.unit.ingest.fhirpath_patch_cases import CASES
from tests.unit.ingest.fhirpath_patches import parameters

_DECIMAL = b'{"url":"urn:d","valueDecimal":1.00}'
_PATIENT = json.dumps(PATIENT | {"id": "a"}).encode()[:-1] + b',"extension":[' + _DECIMAL + b"]}"


def check(data: bytes) -> None:
    head, _, text = data.partition(b"\n")
    release_name, _, kind = head.decode("latin-1").partition(" ")
    release = Release(release_name) if release_name in set(Release) else Release.R4
    try:
        patch = parse_json_patch(text) if kind == "json" else parse_patch(Resource(text))
        patched = apply_patch(patch, Resource(_PATIENT), release)
    except RequestError:
        return
    assert patched.fields["id"] == "a"
    json.loads(patched.text)


TARGET = Target(
    check,
    [
        'r4 json\n[{"op":"test","path":"/id","value":"a"},{"op":"remove","path":"/extension/0"}]',
        'r5 json\n[{"op":"add","path":"/name/-","value":{"text":"~0~1"}},{"op":"copy","from":"","path":"/"}]',
        'r4 json\n[{"op":"move","from":"/name","path":"/name/0"},{"op":"replace","path":"","value":[]}]',
        'r4 json\n[{"op":"add","path":"/a","value":1e99999999},{"op":"test","path":"/a","value":1E-9999999}]',
        "r4 json\n[" + '{"op":"copy","from":"/name","path":"/name/-"},' * 60 + '{"op":"remove","path":""}]',
        *(f"r4 fhirpath\n{json.dumps(parameters(operation))}" for _, operation, _ in CASES),
        'r4 fhirpath\n{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W10="}',
    ],
    r"""
    "op":"add" "path":"/name/0" "from":"" "value": /- /~0 ~1 {"name":"operation","part":[ "valueCode":"move"
    "valueString":"Patient.name.where(family='x')" .extension('urn:d') [0] .ofType(Quantity) %resource $this
    "name":"value" "part":[] "_valueString":{} "valueInteger":-1 null 1.00
    """,
    max_bytes=2000,
)
