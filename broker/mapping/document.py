"""The resource mapping document: for each device data type the resource, profile, codes, unit and source
field, from the compiled mappings. As HTML, Markdown and CSV.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from broker.mapping.codes import LOINC, MDC
from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.mapping_set import MappingSet
from broker.mapping.rules import ObservationRule
from broker.mapping.sampled import SampledDataRule
from broker.mapping.values import PlainRule, QuantityRule, ValueRule

TITLE = "Resource mapping document"
_INTRODUCTION = (
    "What becomes of the data of each device: one row for each value that a mapping reads. "
    "`fhir-broker mappings document` writes this from the mappings that the broker uses."
)


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One value of one mapping. A component has the name of its observation before its own."""

    mapping: str
    data_type: str
    name: str
    resource: str
    profile: str
    category: str
    loinc: str
    mdc: str
    other_codes: str
    value: str
    ucum: str
    source_field: str
    source_unit: str
    condition: str
    possible: str
    merged_by: str


class Section(NamedTuple):
    """The table of one mapping, without the columns that are empty in all its rows."""

    name: str
    title: str
    description: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


COLUMNS: Mapping[str, str] = {
    "mapping": "Mapping",
    "data_type": "Data type",
    "name": "Name",
    "resource": "Resource",
    "profile": "Profile",
    "category": "Category",
    "loinc": "LOINC",
    "mdc": "MDC",
    "other_codes": "Other codes",
    "value": "Value",
    "ucum": "UCUM",
    "source_field": "Source field",
    "source_unit": "Unit in the payload",
    "condition": "Read when",
    "possible": "Possible values",
    "merged_by": "Readings merged by",
}


def rows_of(mappings: MappingSet) -> list[MappingRow]:
    """The rows of all mappings, by name of the mapping and in the order of its file."""
    ordered = sorted(mappings.mappings, key=lambda mapping: mapping.name)
    return [row for mapping in ordered for rule in mapping.observations for row in _rows(mapping, rule)]


def _rows(mapping: DeviceMapping, rule: ObservationRule) -> Iterable[MappingRow]:
    fixed: Mapping[str, Any] = rule.fixed
    profile = ", ".join(fixed.get("meta", {}).get("profile", ()))
    categories = ", ".join(_shown(each) for each in fixed.get("category", ()))
    yield _row(mapping, rule.name, fixed["code"], rule.value, profile=profile, category=categories, rule=rule)
    source = next(each for each in mapping.source["observations"] if each["name"] == rule.name)
    for component, listed in zip(rule.components, source.get("components", ()), strict=True):
        yield _row(
            mapping, f"{rule.name}.{listed['name']}", component.code, component.value, profile=profile,
            category=categories,
        )  # fmt: skip


def _row(
    mapping: DeviceMapping,
    name: str,
    code: Mapping[str, Any],
    value: ValueRule,
    *,
    profile: str,
    category: str,
    rule: ObservationRule | None = None,
) -> MappingRow:
    codings: Sequence[Mapping[str, str]] = code.get("coding", ())
    known = (LOINC, MDC)
    kind, ucum, field, unit, possible = _value(value, rule)
    return MappingRow(
        mapping=mapping.name,
        data_type=code.get("text", ""),
        name=name,
        resource="Observation.component" if rule is None else "Observation",
        profile=profile,
        category=category,
        loinc=", ".join(each["code"] for each in codings if each.get("system") == LOINC),
        mdc=", ".join(each["code"] for each in codings if each.get("system") == MDC),
        other_codes=", ".join(
            f"{each.get('system', '')}|{each.get('code', '')}"
            for each in codings
            if each.get("system") not in known
        ),
        value=kind,
        ucum=ucum,
        source_field=field,
        source_unit=unit,
        condition=value.when.expression.text if value.when else "",
        possible=possible,
        merged_by=_merged_by(rule),
    )


def _merged_by(rule: ObservationRule | None) -> str:
    """`time`, `hour`, `day` or an expression, for an Observation of several readings."""
    if rule is None or rule.merge is None:
        return ""
    return rule.merge.by.expression.text if rule.merge.by else rule.merge.window


def _shown(category: Mapping[str, Any]) -> str:
    coding: Mapping[str, str] = next(iter(category.get("coding", ())), {})
    return coding.get("code") or coding.get("display") or str(category.get("text", ""))


def _value(value: ValueRule, rule: ObservationRule | None) -> tuple[str, str, str, str, str]:
    """Kind of the value, UCUM unit, source field, unit in the payload, possible values."""
    match value.rule:
        case QuantityRule() as quantity:
            unit = _unit(quantity)
            limits = [("≥", quantity.low), ("≤", quantity.high)]
            possible = ", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)
            code = quantity.target.code if quantity.target else str((quantity.fixed or {}).get("code", ""))
            return "Quantity", code, quantity.value.expression.text, unit, possible
        case SampledDataRule() as sampled:
            code = sampled.target.code if sampled.target else ""
            return "SampledData", code, sampled.value.expression.text, _unit(sampled), ""
        case PlainRule() as plain:
            kind = {"concept": "CodeableConcept"}.get(plain.kind, plain.kind)
            return kind, "", plain.value.expression.text, "", ""
        case None:
            members = ", ".join(rule.members) if rule else ""
            return ("members" if members else "components"), "", members, "", ""


def _unit(rule: QuantityRule | SampledDataRule) -> str:
    if rule.unit is None:
        return ""
    return rule.unit.fixed or (f"from {rule.unit.field.expression.text}" if rule.unit.field else "")


def to_csv(rows: Sequence[MappingRow]) -> str:
    """With one line of titles. Cells that a spreadsheet would take for a formula begin with an apostrophe."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS.values())
    writer.writerows([_harmless(getattr(row, name)) for name in COLUMNS] for row in rows)
    return output.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@"} else cell


def to_markdown(rows: Sequence[MappingRow], mappings: MappingSet) -> str:
    """A section for each mapping. Columns that are empty in all its rows are left out."""
    lines = [f"# {TITLE}", "", _INTRODUCTION, ""]
    for mapping, listed in _by_mapping(rows, mappings):
        names = _used(listed)
        lines += [f"## {mapping.title} (`{mapping.name}`)", "", mapping.description, ""]
        lines.append("| " + " | ".join(COLUMNS[name] for name in names) + " |")
        lines.append("|" + "---|" * len(names))
        lines += [
            "| " + " | ".join(_markdown(name, getattr(row, name)) for name in names) + " |" for row in listed
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _markdown(name: str, cell: str) -> str:
    if not cell:
        return ""
    text = cell.replace("|", "\\|").replace("\n", " ")
    plain = {"data_type", "resource", "category", "value", "possible"}
    return text if name in plain else f"`{text.replace('`', '´')}`"


def to_html(rows: Sequence[MappingRow], mappings: MappingSet) -> str:
    """One page that needs nothing else."""
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{TITLE}</title>\n<style>',
        "body{font-family:sans-serif;margin:2rem}table{border-collapse:collapse;margin-bottom:2rem}",
        "th,td{border:1px solid #999;padding:.25rem .5rem;text-align:left;vertical-align:top}",
        f"</style>\n</head>\n<body>\n<h1>{TITLE}</h1>\n<p>{escape(_INTRODUCTION.replace('`', ''))}</p>",
    ]
    for mapping, listed in _by_mapping(rows, mappings):
        names = _used(listed)
        parts.append(f"<h2>{escape(mapping.title)} ({escape(mapping.name)})</h2>")
        parts.append(f"<p>{escape(mapping.description)}</p>\n<table>\n<thead>")
        titles = "".join(f'<th scope="col">{escape(COLUMNS[name])}</th>' for name in names)
        parts.append(f"<tr>{titles}</tr>\n</thead>\n<tbody>")
        for row in listed:
            cells = "".join(f"<td>{escape(getattr(row, name))}</td>" for name in names)
            parts.append(f"<tr>{cells}</tr>")
        parts.append("</tbody>\n</table>")
    return "\n".join([*parts, "</body>\n</html>\n"])


def sections(mappings: MappingSet) -> list[Section]:
    """The document as values: a section for each mapping."""
    made = []
    for mapping, listed in _by_mapping(rows_of(mappings), mappings):
        names = _used(listed)
        cells = [[str(getattr(row, name)) for name in names] for row in listed]
        titles = [COLUMNS[name] for name in names]
        made.append(Section(mapping.name, mapping.title, mapping.description, titles, cells))
    return made


def _by_mapping(
    rows: Sequence[MappingRow], mappings: MappingSet
) -> Iterable[tuple[DeviceMapping, list[MappingRow]]]:
    for mapping in sorted(mappings.mappings, key=lambda each: each.name):
        yield mapping, [row for row in rows if row.mapping == mapping.name]


def _used(rows: Sequence[MappingRow]) -> list[str]:
    """The columns of a mapping's table."""
    return [name for name in COLUMNS if name != "mapping" and any(getattr(row, name) for row in rows)]
