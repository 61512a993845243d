"""Media types: JSON in its three spellings, `_format`, and the `fhirVersion` parameter, which must fit the base."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from starlette.datastructures import QueryParams

from broker.errors import Issue, NotAcceptable, UnsupportedMedia
from broker.fhir.release import FHIR_VERSIONS
from broker.model.release import Release

FHIR_JSON = "application/fhir+json"
_JSON = {FHIR_JSON, "application/json", "text/json", "json"}
_ANY = {"*/*", "application/*", *_JSON}


def _parts(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in header.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name.lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def _fits(parameters: dict[str, str], release: Release) -> bool:
    return parameters.get("fhirversion", FHIR_VERSIONS[release]) in {
        FHIR_VERSIONS[release],
        FHIR_VERSIONS[release].rpartition(".")[0],
    }


def check_accept(headers: Mapping[str, str], query: QueryParams, path: str, release: Release) -> None:
    """Raises `NotAcceptable` unless the caller takes JSON of this release. `_format` wins over `Accept`."""
    wanted = query.get("_format") or headers.get("accept") or "*/*"
    if "_format" in query:
        # an unescaped `+` in a query string arrives as a blank
        wanted = wanted.replace("fhir json", "fhir+json").replace("fhir xml", "fhir+xml")
    if "text/event-stream" in wanted and path.endswith("/$stream"):
        return
    _check_wanted(wanted, release)


@lru_cache(maxsize=256)
def _check_wanted(wanted: str, release: Release) -> None:
    """Remembers what it let pass: clients keep to a few spellings."""
    for name, parameters in _parts(wanted):
        if name in _ANY and parameters.get("q") not in {"0", "0.0"} and _fits(parameters, release):
            return
    raise NotAcceptable(
        Issue(
            "not-supported",
            f"this base answers {FHIR_JSON}; fhirVersion={_short(release)} only, not {wanted!r}",
        )
    )


@lru_cache(maxsize=256)
def check_content_type(given: str, release: Release, *, is_search: bool) -> None:
    """Raises `UnsupportedMedia` unless the body is JSON of this release (or a form, for a search); without a Content-Type
    JSON is assumed. Remembers what it let pass: clients keep to a few spellings.
    """
    if not given:
        return
    name, parameters = next(_parts(given))
    if name == "application/x-www-form-urlencoded" and is_search:
        return
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMedia(
            Issue("not-supported", f"FHIR JSON is in UTF-8, not {parameters['charset']!r}")
        )
    if "xml" in name:
        raise UnsupportedMedia(
            Issue("not-supported", f"XML is neither read nor written here; send {FHIR_JSON}, not {given!r}")
        )
    if name not in _JSON or not _fits(parameters, release):
        raise UnsupportedMedia(
            Issue(
                "not-supported",
                f"send {FHIR_JSON} of fhirVersion {_short(release)} to this base, not {given!r}",
            )
        )


def _short(release: Release) -> str:
    return FHIR_VERSIONS[release].rpartition(".")[0]
