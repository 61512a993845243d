"""Rewrites the links between the entries of a transaction: what equals the `fullUrl` of an entry becomes
`Type/id`.

FHIR's rule (http.html#trules) names the elements: References, `uri`, `url`, `oid` and `uuid` values, and
`<a href>` and `<img src>` in narratives. Texts, codes and identifier values stay as they are. Called by the
transactions of intake.
"""

import html
import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from broker.model.json_text import STRING
from broker.model.resource import Resource

_STRINGS = re.compile(rb"(" + STRING + rb")(\s*:)?")
_URN = re.compile(r"urn:uuid:[0-9a-fA-F-]{36}|urn:oid:[0-9.]+")
_RESTFUL = re.compile(r"(https?://[^?#]*/)([A-Z][A-Za-z]*/[A-Za-z0-9\-.]{1,64})")
_QUOTED = r"\"[^\"]*\"|'[^']*'"
_TAG = re.compile(rf"<(?:a|img)(?=\s)(?:[^\"'>]|{_QUOTED})*>")
_ATTRIBUTE = re.compile(rf"(\s(?:href|src)\s*=\s*)({_QUOTED})")

LINK_MEMBERS = frozenset(
    """additionalInfo address addressUrl artifactUri authority authorizationUrl contentReference
    defaultValueOid defaultValueUri defaultValueUrl defaultValueUuid definition definitionUri derivedFromUri
    detail endParam endpoint endpointUrl eventUri filterDefinition fixedOid fixedUri fixedUrl fixedUuid
    fullUrl implicitRules instantiates instantiatesUri issuer jurisdiction link linkUri location moduleUri
    nameUrl networkUri next onlineInformation patternOid patternUri patternUrl patternUuid policy protocol
    reference relativePath rendering resource satisfiedBy source sourceScopeUri sourceUri sourceUrl startParam
    structureProfileUri subJurisdiction system target targetScopeUri targetUri uri url valueOid valueUri
    valueUrl valueUuid
    """.split()  # noqa: SIM905 reads as a list of names
)
"""Members that hold a reference, uri, url, oid or uuid in some type. Those that are nearly always a code or a
name (`type`, `code`, `name`, `property`, `identifier`, `path`, `resourceType`) are left out.
"""
_LINKS = frozenset(f'"{name}"'.encode() for name in LINK_MEMBERS)


class LinkTargets(NamedTuple):
    """What links are replaced by: whole URLs wherever a link may be, and texts of References only."""

    urls: Mapping[str, str]
    references: Mapping[str, str]


def link_targets(full_urls: Mapping[str, str]) -> Mapping[str, str]:
    """The entries whose fullUrl others may link to: fullUrl -> `Type/id` it gets here."""
    return {
        url: target for url, target in full_urls.items() if _URN.fullmatch(url) or _RESTFUL.fullmatch(url)
    }


def targets_of_entry(full_url: str, urls: Mapping[str, str], references: Mapping[str, str]) -> LinkTargets:
    """The targets for one entry: its relative references count from the base of its own fullUrl."""
    own = _RESTFUL.fullmatch(full_url)
    relative: dict[str, str] = {}
    if own is not None:
        for url, target in urls.items():
            other = _RESTFUL.fullmatch(url)
            if other is not None and other[1] == own[1]:
                relative[other[2]] = target
    return LinkTargets(urls, {**relative, **references})


def replace_links(resource: Resource, targets: LinkTargets) -> Resource:
    """The resource with its links replaced; everything else keeps its spelling.

    Raises `Malformed` for a text that is not a JSON object.
    """
    if not targets.urls and not targets.references:
        return resource
    resource.fields  # noqa: B018  checks the text
    name = b""

    def replaced(match: re.Match[bytes]) -> bytes:
        nonlocal name
        if match[2] is not None:
            name = match[1]
            return match[0]
        if name == b'"div"':
            value = orjson.loads(match[1])
            narrative = _TAG.sub(lambda tag: _with_links(tag[0], targets.urls), value)
            return match[0] if narrative == value else orjson.dumps(narrative)
        if name not in _LINKS:
            return match[0]
        value = orjson.loads(match[1])
        target = targets.urls.get(value)
        if target is None and name == b'"reference"':
            target = targets.references.get(value)
        return match[0] if target is None else orjson.dumps(target)

    return Resource(_STRINGS.sub(replaced, resource.text))


def _with_links(tag: str, urls: Mapping[str, str]) -> str:
    """The tag with each `href` or `src` that is the URL of an entry replaced."""

    def replaced(match: re.Match[str]) -> str:
        target = urls.get(html.unescape(match[2][1:-1]))
        return match[0] if target is None else f'{match[1]}"{html.escape(target)}"'

    return _ATTRIBUTE.sub(replaced, tag)
