"""Compiles a mapping file: YAML text to a `DeviceMapping`. Every error names file, line and field."""

from collections.abc import Mapping
from typing import Any

from broker.mapping.codes import MDC, Coding, concept
from broker.mapping.compiled_fields import FieldCompiler
from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.fields import IdentifierRule
from broker.mapping.identity_rules import IdentityRule
from broker.mapping.observation_compiler import ObservationCompiler
from broker.mapping.reading import IdentityPolicy
from broker.mapping.rules import CorrectionRule, ObservationRule
from broker.mapping.schema import check
from broker.mapping.yaml_document import Path, parse_yaml

_PERSONAL_HEALTH_DEVICE = Coding(MDC, "65573", "MDC_MOC_VMS_MDS_SIMP")
"""The type of each Device of the PHD guide; its specialization says what kind it is (V-40, V-41)."""
_STATUSES = ("corrected", "amended", "entered-in-error")


def compile_mapping(file: str, text: str, *, is_shipped: bool = False) -> DeviceMapping:
    """Raises `MappingError`. A shipped file is not checked against the schema: the tests of the package do
    that, and a process that has no other need not load what checks it.
    """
    document = parse_yaml(file, text)
    if not is_shipped:
        check(document)
    fields = FieldCompiler(document)
    content: Mapping[str, Any] = document.value
    select = content.get("select", [])
    observations = _observations(fields, content)
    return DeviceMapping(
        name=content["name"],
        title=content.get("title", content["name"]),
        description=content.get("description", ""),
        file=file,
        is_shipped=is_shipped,
        collection=content.get("collection", ""),
        wrapped_as=content.get("as", ""),
        match=fields.expression(("match",)).expression,
        steps=tuple(fields.expression(("select", number)) for number in range(len(select)))
        if isinstance(select, list)
        else (fields.expression(("select",)),),
        device=_identity(fields, "device", is_required=True),
        patient=_identity(fields, "patient", is_required=False) if "patient" in content else None,
        encounter=_identifier(fields, "encounter"),
        gateway=_identifier(fields, "gateway"),
        time=fields.time(("time",)),
        correction=_correction(fields, content.get("correction")),
        discriminator=fields.optional(("discriminator",)),
        note=fields.optional(("note",)),
        observations=observations,
        source=content,
    )


def _observations(fields: FieldCompiler, content: Mapping[str, Any]) -> tuple[ObservationRule, ...]:
    compiler = ObservationCompiler(fields, content.get("units", {}), content.get("special-values", {}))
    listed = content["observations"]
    names = [each["name"] for each in listed]
    for number, each in enumerate(listed):
        path: Path = ("observations", number)
        if each["name"] in names[:number]:
            raise fields.error((*path, "name"), "another observation of this file has the name.")
        for place, member in enumerate(each.get("members", [])):
            if member not in names or member == each["name"]:
                raise fields.error(
                    (*path, "members", place), "no other observation of this file has the name."
                )
    return tuple(compiler.observation(("observations", number)) for number in range(len(listed)))


def _identity(fields: FieldCompiler, key: str, *, is_required: bool) -> IdentityRule:
    members: Mapping[str, Any] = fields.value((key,))
    policy = members.get("policy")
    plain = {"identifier", "policy", "type", "specialization", "required"}
    fixed: dict[str, object] = {}
    if "type" in members:
        codings = fields.codings((key, "type"))
        fixed["type"] = {"coding": [coding.element() for coding in codings]}
    if "specialization" in members:
        codings = fields.codings((key, "specialization"))
        fixed["specialization"] = [{"systemType": concept(coding)} for coding in codings]
        fixed.setdefault("type", concept(_PERSONAL_HEALTH_DEVICE))
    return IdentityRule(
        identifier=fields.identifier((key, "identifier")),
        policy=None if policy is None else IdentityPolicy(policy),
        sources={name: fields.source((key, name)) for name in members if name not in plain},
        fixed=fixed,
        is_required=is_required or members.get("required", False),
    )


def _identifier(fields: FieldCompiler, key: str) -> IdentifierRule | None:
    return fields.identifier((key, "identifier")) if fields.value((key,)) is not None else None


def _correction(fields: FieldCompiler, members: Mapping[str, Any] | None) -> CorrectionRule | None:
    if members is None:
        return None
    words = {"true": "corrected", "false": "", **{status: status for status in _STATUSES}}
    return CorrectionRule(fields.expression(("correction", "value")), words | members.get("words", {}))
