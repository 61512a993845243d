"""Renders a conformance report as JSON, Markdown or HTML."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import TypeAlias

from broker.profiles.report import ConformanceReport, ProfileCounts

Renderer: TypeAlias = Callable[[ConformanceReport], str]
_COLUMNS = ("element", "must support", "passed", "failed", "present")
_STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}td.n{text-align:right}"
    "tr.bad{background:#fdd}"
)


def as_json(report: ConformanceReport) -> str:
    """The profiles and their elements as lists."""
    shown = dataclasses.asdict(report)
    shown["profiles"] = [
        {**profile, "elements": list(profile["elements"].values())} for profile in shown["profiles"].values()
    ]
    return json.dumps(shown, indent=2, ensure_ascii=False)


def as_markdown(report: ConformanceReport) -> str:
    lines = ["# Conformance report", "", _summary(report), ""]
    for profile in report.profiles.values():
        lines += [
            f"## {profile.url}",
            "",
            _profile_summary(profile),
            "",
            *_table(_COLUMNS, _rows(profile)),
            "",
        ]
    if report.problems:
        rows = ((each.resource, each.severity, f"`{each.path}`", each.text) for each in report.problems)
        lines += ["## Issues", "", *_table(("resource", "severity", "element", "issue"), rows), ""]
    if report.unchecked:
        lines += ["## Not checked", "", *(f"- {_cell(text)}" for text in report.unchecked), ""]
    return "\n".join(lines)


def as_html(report: ConformanceReport) -> str:
    """One page without scripts and outside resources."""
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Conformance report</title>",
        f"<style>{_STYLE}</style></head><body><h1>Conformance report</h1><p>{escape(_summary(report))}</p>",
    ]
    for profile in report.profiles.values():
        parts.append(f"<h2>{escape(profile.url)}</h2><p>{escape(_profile_summary(profile))}</p>")
        parts.append(
            _html_table(_COLUMNS, _rows(profile), bad=[each.failed > 0 for each in profile.elements.values()])
        )
    if report.problems:
        rows = [(each.resource, each.severity, each.path, each.text) for each in report.problems]
        parts.append("<h2>Issues</h2>")
        parts.append(_html_table(("resource", "severity", "element", "issue"), rows, bad=[False] * len(rows)))
    if report.unchecked:
        items = "".join(f"<li>{escape(text)}</li>" for text in report.unchecked)
        parts.append(f"<h2>Not checked</h2><ul>{items}</ul>")
    return "\n".join([*parts, "</body></html>"])


def _summary(report: ConformanceReport) -> str:
    return f"{report.conformant} of {report.resources} resources conform."


def _profile_summary(profile: ProfileCounts) -> str:
    return f"{profile.conformant} of {profile.resources} resources conform to this profile."


def _rows(profile: ProfileCounts) -> Iterator[Sequence[str]]:
    for each in profile.elements.values():
        support = "yes" if each.must_support else ""
        yield f"`{each.element}`", support, str(each.passed), str(each.failed), str(each.present)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(text) for text in row)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _html_table(columns: Sequence[str], rows: Iterable[Sequence[str]], bad: Sequence[bool]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=bad' if is_bad else ''}>"
        + "".join(
            f"<td{' class=n' if cell.isdecimal() else ''}>{escape(cell.strip('`'))}</td>" for cell in row
        )
        + "</tr>"
        for row, is_bad in zip(rows, bad, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
