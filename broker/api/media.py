"""Content negotiation: JSON in its spellings, `_format`, and the `fhirVersion` parameter, which must fit the
base.

Results are cached, since clients keep to a few spellings.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from starlette.datastructures import QueryParams

from broker.errors import Issue, NotAcceptable, UnsupportedMedia
from broker.fhir.release import FHIR_VERSIONS
from broker.model.release import Release

FHIR_JSON = "application/fhir+json"
_JSON = {FHIR_JSON, "application/json", "text/json", "json", "application/json+fhir"}
"""The spellings of JSON; the last is that of clients from before R4."""
JSON_PATCH = "application/json-patch+json"
ACCEPT_PATCH = f"{JSON_PATCH}, {FHIR_JSON}"
"""The formats of a PATCH, for the header Accept-Patch (RFC 5789): JSON Patch and FHIRPath Patch."""
FHIR_NDJSON = "application/fhir+ndjson"
NDJSON_TYPES = frozenset({FHIR_NDJSON, "application/ndjson", "ndjson"})
"""The spellings of NDJSON, the format of files of exports."""
_BLANK = re.compile(r"(?<=\w) (?=\w)")
_ZERO = re.compile(r"0(\.0{0,3})?")
_ANY = {"*/*", "application/*", *_JSON}


def media_types(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each media type of a header with its parameters."""
    for part in header.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name.lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def is_fhir_json(content_type: str) -> bool:
    """Whether the media type is one of the spellings of FHIR JSON, whatever the release."""
    return next(media_types(content_type))[0] in _JSON


def _fits(parameters: dict[str, str], release: Release) -> bool:
    version = FHIR_VERSIONS[release]
    return parameters.get("fhirversion", version) in {version, _short_version(release)}


def check_accept(headers: Mapping[str, str], query: QueryParams, path: str, release: Release) -> None:
    """Raises `NotAcceptable` unless the client accepts JSON of this release. `_format` replaces `Accept`.

    Discovery is answered in JSON whatever the client accepts (S-002); a file of an export is NDJSON.
    """
    if path.startswith(".well-known/"):
        return
    accept = query.get("_format") or headers.get("accept") or "*/*"
    if "_format" in query:
        # an unescaped `+` in a query string arrives as a blank
        accept = _BLANK.sub("+", accept)
    if "text/event-stream" in accept and path.endswith("/$stream"):
        return
    if path.startswith("_export/") and any(name in NDJSON_TYPES for name, _ in media_types(accept)):
        return
    _check_accept(accept, release)


@lru_cache(maxsize=256)
def _check_accept(accept: str, release: Release) -> None:
    for name, parameters in media_types(accept):
        if name in _ANY and not _ZERO.fullmatch(parameters.get("q", "1")) and _fits(parameters, release):
            return
    text = (
        f"This base cannot answer as {accept!r}. Accept {FHIR_JSON}; fhirVersion={_short_version(release)}."
    )
    raise NotAcceptable(Issue("not-supported", text))


@lru_cache(maxsize=256)
def check_content_type(
    content_type: str, release: Release, *, is_search: bool, is_patch: bool = False
) -> None:
    """Raises `UnsupportedMedia` unless the body is JSON of this release, a form for a search, or a JSON Patch
    for a PATCH.

    Without a Content-Type, JSON is assumed.
    """
    if not content_type:
        return
    name, parameters = next(media_types(content_type))
    if name == "application/x-www-form-urlencoded" and is_search:
        return
    if is_patch and name == JSON_PATCH:
        return
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        text = f"The charset {parameters['charset']!r} is not supported. Send FHIR JSON in UTF-8."
        raise UnsupportedMedia(Issue("not-supported", text))
    if "xml" in name:
        text = (
            f"The broker does not read xml: {content_type!r}. Send {ACCEPT_PATCH if is_patch else FHIR_JSON}."
        )
        raise UnsupportedMedia(Issue("not-supported", text))
    if name not in _JSON or not _fits(parameters, release):
        text = (
            f"This base does not read {content_type!r}. Send {f'{JSON_PATCH} or ' if is_patch else ''}"
            f"{FHIR_JSON}; fhirVersion={_short_version(release)}."
        )
        raise UnsupportedMedia(Issue("not-supported", text))


def is_json_patch(content_type: str) -> bool:
    """Whether a Content-Type is that of JSON Patch."""
    return content_type.partition(";")[0].strip().lower() == JSON_PATCH


def _short_version(release: Release) -> str:
    """The version without its patch, such as 4.0."""
    return FHIR_VERSIONS[release].rpartition(".")[0]
