"""Chained filters: `patient.gender=female` is about the resource that the focus refers to (R-060).

Matching does not read the store. A `ChainResolver` names the targets that it needs, and finds them among the
resources that the caller read. It uses the current version of a target, also if the reference names an older
one. A target that is not stored, or was deleted, makes the filter not evaluable, which is never a pass
(R-410). A chain follows one reference, not several.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from broker.matching.change_states import RelatedStates
from broker.matching.context import SearchContext
from broker.matching.extract import compile_extractor
from broker.matching.filters import Test, compile_filter
from broker.matching.problems import READ_ERRORS, EvaluationFailed
from broker.matching.references import (
    normal_reference,
    reference_targets,
    reference_text,
    referenced_type,
)
from broker.matching.states import Target
from broker.matching.support import unsupported
from broker.matching.values import BadFilter
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, ParameterType, SearchParameter

_LINK = re.compile(r"([a-z_][A-Za-z0-9_-]*)(?::([A-Z][A-Za-z]*))?")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Chain:
    """A filter parsed as a chain.

    `link` is the reference parameter, `type` the target type if the filter names one, `last` the filter on
    the target.
    """

    link: str
    type: str | None
    last: Filter

    @property
    def name(self) -> str:
        """The name of the filter in a topic, which includes neither types nor modifiers."""
        return f"{self.link}.{self.last.parameter}"


class ChainEnd(NamedTuple):
    """A search parameter that the end of a chain may mean, for targets of one release and type."""

    release: Release
    resource_type: str
    parameter: SearchParameter


class ResolvedTarget(NamedTuple):
    """The resource that a reference points at, in its release."""

    state: dict[str, Any]
    release: Release
    resource_type: str


def is_chained(filter_: Filter) -> bool:
    return "." in filter_.parameter or "." in (filter_.modifier or "")


def offered_name(filter_: Filter) -> str:
    """The name by which a topic offers the filter."""
    chain = read_chain(filter_)
    return filter_.parameter if chain is None else chain.name


def read_chain(filter_: Filter) -> Chain | None:
    """None for a filter that is not a chain, or is not written as one.

    `subject:Patient.name:exact` arrives as a parameter and a modifier.
    """
    if not is_chained(filter_):
        return None
    text = filter_.parameter if filter_.modifier is None else f"{filter_.parameter}:{filter_.modifier}"
    first, _, rest = text.partition(".")
    link = _LINK.fullmatch(first)
    code, colon, modifier = rest.partition(":")
    if link is None or not code or (colon and not modifier):
        return None
    last = Filter(code, filter_.value, filter_.comparator, modifier if colon else None)
    return Chain(link[1], link[2], last)


def chain_ends(chain: Chain, reference: SearchParameter, parameters: ParameterTable) -> tuple[ChainEnd, ...]:
    """The parameters that the end of a chain may mean. Raises BadFilter if there are none."""
    if reference.type is not ParameterType.REFERENCE:
        raise BadFilter(f"{chain.link} is not a reference parameter")
    if is_chained(chain.last):
        raise BadFilter("it follows more than one reference, which is not evaluated")
    targets = reference_targets(reference)
    if chain.type is not None:
        if targets and chain.type not in targets:
            raise BadFilter(f"{chain.link} never refers to {chain.type}, only to {', '.join(targets)}")
        targets = (chain.type,)
    code = chain.last.parameter
    ends = tuple(
        ChainEnd(release, target, parameter)
        for release in Release
        for target in targets
        if (parameter := parameters.find(release, target, code)) is not None
    )
    if not ends:
        raise BadFilter(f"{' or '.join(targets)} has no search parameter {code}")
    return ends


class ChainResolver:
    """Resolves the references of a focus of one release, for one reference parameter and a set of target
    types.
    """

    def __init__(
        self, reference: SearchParameter, types: frozenset[str], release: Release, context: SearchContext
    ) -> None:
        self._extract = compile_extractor(reference.expression, release)
        self._types = types
        self._release = release
        self._base_urls = context.base_urls

    def targets(self, focus: dict[str, Any]) -> frozenset[Target]:
        """The targets to read from the store. Empty if the references can't be read."""
        try:
            targets = [self._target(node.value) for node in self._extract(focus)]
        except READ_ERRORS:
            return frozenset()
        return frozenset(target for target in targets if target is not None)

    def references(self, focus: dict[str, Any]) -> list[Any]:
        """The reference elements of the focus. Raises EvaluationFailed."""
        try:
            return [node.value for node in self._extract(focus)]
        except EvaluationFailed:
            raise
        except READ_ERRORS as error:
            raise EvaluationFailed(str(error)) from error

    def resolve(self, reference: Any, focus: dict[str, Any], related: RelatedStates) -> ResolvedTarget | None:
        """The resource that one reference element points at; None if it has a type that the chain is not
        about.

        Raises EvaluationFailed if the resource is not available.
        """
        text = reference_text(reference)
        if text is not None and text.startswith("#"):
            return self._contained(text, focus)
        target = self._target(reference)
        if target is None:
            type_name = referenced_type(reference)
            if type_name is not None and type_name not in self._types:
                return None
            raise EvaluationFailed(f"{text or 'the referenced resource'} is not stored here")
        stored = related.find(target)
        if stored is None:
            raise EvaluationFailed(f"{'/'.join(target)} is not stored here")
        state, release = stored
        return ResolvedTarget(state, release, target[0])

    def _contained(self, text: str, focus: dict[str, Any]) -> ResolvedTarget:
        try:
            for resource in focus.get("contained", ()):
                if resource.get("id") == text[1:]:
                    return ResolvedTarget(resource, self._release, resource.get("resourceType", ""))
        except (TypeError, AttributeError) as error:
            raise EvaluationFailed(str(error)) from error
        raise EvaluationFailed(f"the focus contains no resource {text}")

    def _target(self, reference: Any) -> Target | None:
        """The target if it is a resource of this broker and of a type that the chain is about."""
        text = reference_text(reference)
        if text is None or text.startswith("#"):
            return None
        type_name, _, resource_id = normal_reference(text, self._base_urls).partition("/")
        if type_name not in self._types or not _ID.fullmatch(resource_id):
            return None
        return type_name, resource_id


def chain_resolver(
    reference: SearchParameter, ends: tuple[ChainEnd, ...], release: Release, context: SearchContext
) -> ChainResolver:
    """The resolver for a chain with these ends. `release` is that of the focus."""
    types = frozenset(end.resource_type for end in ends)
    return ChainResolver(reference, types, release, context)


class ChainTest:
    """A compiled chained filter, for foci of one release."""

    def __init__(self, resolver: ChainResolver, tests: dict[tuple[Release, str], Test]) -> None:
        self.resolver = resolver
        self._tests = tests

    def passes(self, focus: dict[str, Any], related: RelatedStates) -> bool:
        """Whether any target passes. Raises EvaluationFailed if none passes and one can't be evaluated."""
        failure: EvaluationFailed | None = None
        for reference in self.resolver.references(focus):
            try:
                target = self.resolver.resolve(reference, focus, related)
                if target is not None and self._passes(target):
                    return True
            except EvaluationFailed as error:
                failure = error
        if failure is not None:
            raise failure
        return False

    def _passes(self, target: ResolvedTarget) -> bool:
        test = self._tests.get((target.release, target.resource_type))
        return test is not None and test(target.state)


def compile_chain(
    chain: Chain, reference: SearchParameter, release: Release, context: SearchContext
) -> ChainTest:
    """Compiles the filter for every type of target. `release` is that of the focus. Raises BadFilter or
    BadValue.
    """
    ends = chain_ends(chain, reference, context.parameters)
    tests: dict[tuple[Release, str], Test] = {}
    for end in ends:
        reason = unsupported(chain.last, end.parameter)
        if reason is not None:
            raise BadFilter(f"{end.parameter.code} of {end.resource_type} {reason}")
        tests[end.release, end.resource_type] = compile_filter(
            chain.last, end.parameter, end.release, context
        )
    return ChainTest(chain_resolver(reference, ends, release, context), tests)
