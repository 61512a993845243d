"""Chained filters: `patient.gender=female` is about the resource that the focus refers to (R-060).

Matching fetches nothing. A compiled chain tells which targets it wants (`needs`) and tests what it is given. The target's
current version counts, also where a reference names an older one. A target that isn't stored here, or was deleted, makes the
filter fail: that is never a pass (R-410). One reference is followed, not several.
"""

import re
from dataclasses import dataclass
from typing import Any

from broker.errors import BrokerError
from broker.matching.extract import compile_extractor
from broker.matching.fhirpath import referenced_type
from broker.matching.filters import Test, compile_filter
from broker.matching.problems import EvaluationFailed
from broker.matching.references import normal_reference, reference_targets, reference_text
from broker.matching.states import RelatedStates, Target
from broker.matching.support import unsupported
from broker.matching.values import BadFilter
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, ParameterType, SearchParameter

_LINK = re.compile(r"([a-z_][A-Za-z0-9_-]*)(?::([A-Z][A-Za-z]*))?")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Chain:
    """A filter read as a chain: the reference to follow, the type it must lead to if one is said, the test of the target."""

    link: str
    type: str | None
    last: Filter

    @property
    def name(self) -> str:
        """What a topic calls it; types and modifiers are no part of that."""
        return f"{self.link}.{self.last.parameter}"


def is_chained(wanted: Filter) -> bool:
    return "." in wanted.parameter or "." in (wanted.modifier or "")


def offered_name(wanted: Filter) -> str:
    """The name under which a topic would offer the filter."""
    chain = read_chain(wanted)
    return wanted.parameter if chain is None else chain.name


def read_chain(wanted: Filter) -> Chain | None:
    """None for a filter that is no chain, or not one that can be read: `subject:Patient.name:exact` comes in two pieces."""
    if not is_chained(wanted):
        return None
    text = wanted.parameter if wanted.modifier is None else f"{wanted.parameter}:{wanted.modifier}"
    first, _, rest = text.partition(".")
    link = _LINK.fullmatch(first)
    code, colon, modifier = rest.partition(":")
    if link is None or not code or (colon and not modifier):
        return None
    last = Filter(code, wanted.value, wanted.comparator, modifier if colon else None)
    return Chain(link[1], link[2], last)


def compile_chain(
    chain: Chain,
    reference: SearchParameter,
    table: ParameterTable,
    base_urls: frozenset[str] = frozenset(),
    release: Release = Release.R5,
    value_sets: ValueSets = NO_VALUE_SETS,
) -> "ChainTest":
    """Compiles the test for every type the reference may lead to. Raises BadFilter or BadValue; `release` is the focus's."""
    tests: dict[tuple[Release, str], Test] = {}
    for one, target, parameter in ends(chain, reference, table):
        reason = unsupported(chain.last, parameter)
        if reason is not None:
            raise BadFilter(f"{parameter.code} of {target} {reason}")
        tests[one, target] = compile_filter(chain.last, parameter, base_urls, one, value_sets)
    return ChainTest(reference, base_urls, release, tests)


def ends(
    chain: Chain, reference: SearchParameter, table: ParameterTable
) -> list[tuple[Release, str, SearchParameter]]:
    """The parameters that the end of a chain may mean, by release and type. Raises BadFilter where there are none."""
    if reference.type is not ParameterType.REFERENCE:
        raise BadFilter(f"{chain.link} is no reference that can be followed")
    if is_chained(chain.last):
        raise BadFilter("it follows more than one reference, which is not evaluated")
    targets = reference_targets(reference)
    if chain.type is not None:
        if targets and chain.type not in targets:
            raise BadFilter(f"{chain.link} never refers to {chain.type}, only to {', '.join(targets)}")
        targets = (chain.type,)
    code = chain.last.parameter
    found = [(one, target, table.find(one, target, code)) for one in Release for target in targets]
    known = [(one, target, parameter) for one, target, parameter in found if parameter is not None]
    if not known:
        raise BadFilter(f"no search parameter {code} of {' or '.join(targets)} is known")
    return known


class ChainTest:
    """A compiled chained filter, for foci of one release."""

    def __init__(
        self,
        reference: SearchParameter,
        base_urls: frozenset[str],
        release: Release,
        tests: dict[tuple[Release, str], Test],
    ) -> None:
        self._extract = compile_extractor(reference.expression, release)
        self._base_urls = base_urls
        self._release = release
        self._tests = tests
        self._types = frozenset(target for _, target in tests)

    def needs(self, resource: dict[str, Any]) -> frozenset[Target]:
        """The targets to be fetched; none for a resource whose references can't be read."""
        try:
            found = [self._target(node.value) for node in self._extract(resource)]
        except (BrokerError, ValueError, TypeError, AttributeError, LookupError):
            return frozenset()
        return frozenset(one for one in found if one is not None)

    def passes(self, resource: dict[str, Any], related: RelatedStates) -> bool:
        """Whether any target passes. Raises EvaluationFailed where none does and one can't be told."""
        failure: EvaluationFailed | None = None
        for element in self._elements(resource):
            try:
                if self._passes_one(element, resource, related):
                    return True
            except EvaluationFailed as error:
                failure = error
        if failure is not None:
            raise failure
        return False

    def _elements(self, resource: dict[str, Any]) -> list[Any]:
        try:
            return [node.value for node in self._extract(resource)]
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise EvaluationFailed(str(error)) from error

    def _passes_one(self, element: Any, resource: dict[str, Any], related: RelatedStates) -> bool:
        text = reference_text(element)
        if text is not None and text.startswith("#"):
            contained = next(
                (one for one in resource.get("contained", ()) if one.get("id") == text[1:]), None
            )
            if contained is None:
                raise EvaluationFailed(f"{text} is not contained")
            return self._test(contained, self._release, contained.get("resourceType", ""))
        target = self._target(element)
        if target is None:
            said = referenced_type(element)
            if said is not None and said not in self._types:
                return False  # it leads to a type that the filter isn't about
            raise EvaluationFailed(f"{text or 'what is referred to'} is not stored here")
        found = related.find(target)
        if found is None:
            raise EvaluationFailed(f"{'/'.join(target)} is not stored here")
        return self._test(*found, target[0])

    def _test(self, state: dict[str, Any], release: Release, resource_type: str) -> bool:
        test = self._tests.get((release, resource_type))
        return test is not None and test(state)

    def _target(self, element: Any) -> Target | None:
        """Where the reference leads, if that is one of our resources and of a type the filter is about."""
        text = reference_text(element)
        if text is None or text.startswith("#"):
            return None
        kind, _, resource_id = normal_reference(text, self._base_urls).partition("/")
        if kind not in self._types or not _ID.fullmatch(resource_id):
            return None
        return kind, resource_id
