"""The parts of a StructureDefinition that the compiler reads, as values.

`parse_element` reads one ElementDefinition. What an element does not say is None, so that a differential can
be laid over its base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from broker.errors import BrokerError

_MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"
_ADDITIONAL_BINDINGS = frozenset(
    {
        "http://hl7.org/fhir/StructureDefinition/additional-binding",
        "http://hl7.org/fhir/tools/StructureDefinition/additional-binding",
    }
)
UNBOUNDED = 1 << 30
"""The maximum `*`."""


class BadDefinition(BrokerError):  # noqa: N818 named for what is the case
    """A definition that cannot be read. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Discriminator:
    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Slicing:
    discriminators: tuple[Discriminator, ...]
    rules: str = "open"
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class TypeRule:
    """One permitted type: its code, the profiles that its value may meet, and those that a target may.

    `aggregation` says where a target may be; anywhere if it is empty.
    """

    code: str
    profiles: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    aggregation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """`required` are the value sets that a code has to be from: that of the binding if it is required, the
    maximum one, and additional ones.
    """

    required: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constraint:
    """An invariant. `source` is the definition that it comes from."""

    key: str
    severity: str
    human: str
    expression: str
    source: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed value or pattern, boxed because its value may be false."""

    value: Any


@dataclass(frozen=True, slots=True)
class ElementRules:
    """What one ElementDefinition says.

    It has as many attributes as an ElementDefinition has rules.
    """

    min: int | None = None
    max: int | None = None
    types: tuple[TypeRule, ...] | None = None
    fixed: Literal | None = None
    pattern: Literal | None = None
    binding: Binding | None = None
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    max_length: int | None = None
    min_value: Literal | None = None
    max_value: Literal | None = None
    slicing: Slicing | None = None
    content: str | None = None
    must_support: bool = False

    def overlaid(self, other: "ElementRules") -> "ElementRules":
        """These rules, with what the other says in place of what these say; invariants add up."""
        said = {name: value for name in _OVERRIDING if (value := getattr(other, name)) is not None}
        return replace(
            self,
            **said,
            constraints={**self.constraints, **other.constraints},
            must_support=self.must_support or other.must_support,
        )


_OVERRIDING = (
    *("min", "max", "types", "fixed", "pattern", "binding", "max_length", "min_value", "max_value"),
    *("slicing", "content"),
)


def parse_element(element: Mapping[str, Any], source: str) -> ElementRules:
    """Raises `BadDefinition`. `source` is the URL of the definition."""
    minimum, maximum = element.get("min"), element.get("max")
    if minimum is not None and (not isinstance(minimum, int) or minimum < 0):
        raise BadDefinition("min is not a number")
    if maximum is not None and maximum != "*" and not str(maximum).isdecimal():
        raise BadDefinition("max is neither a number nor *")
    length = element.get("maxLength")
    return ElementRules(
        min=minimum,
        max=None if maximum is None else UNBOUNDED if maximum == "*" else int(maximum),
        types=_types(element),
        fixed=_choice(element, "fixed"),
        pattern=_choice(element, "pattern"),
        binding=_binding(element),
        constraints=_constraints(element, source),
        max_length=length if isinstance(length, int) else None,
        min_value=_choice(element, "minValue"),
        max_value=_choice(element, "maxValue"),
        slicing=_slicing(element),
        content=_text(element, "contentReference") or None,
        must_support=element.get("mustSupport") is True,
    )


def objects(owner: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list. Raises `BadDefinition` for something else."""
    values = owner.get(name, [])
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise BadDefinition(f"{name} is not a list of objects")
    return values


def _text(owner: Mapping[str, Any], name: str) -> str:
    value = owner.get(name, "")
    if not isinstance(value, str):
        raise BadDefinition(f"{name} is not a text")
    return value


def _texts(owner: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = owner.get(name, [])
    if not isinstance(values, list):
        raise BadDefinition(f"{name} is not a list")
    return tuple(value for value in values if isinstance(value, str))


def _types(element: Mapping[str, Any]) -> tuple[TypeRule, ...] | None:
    types = [
        TypeRule(
            _type_code(_text(each, "code")),
            _texts(each, "profile"),
            _texts(each, "targetProfile"),
            _texts(each, "aggregation"),
        )
        for each in objects(element, "type")
    ]
    return tuple(types) or None


def _type_code(code: str) -> str:
    """The FHIR type; the ids of elements have one of FHIRPath (`http://hl7.org/fhirpath/System.String`)."""
    return "string" if code.startswith("http://hl7.org/fhirpath/") else code.rpartition("/")[2]


def _choice(element: Mapping[str, Any], prefix: str) -> Literal | None:
    for name, value in element.items():
        if name.startswith(prefix) and name[len(prefix) :][:1].isupper():
            return Literal(value)
    return None


def _binding(element: Mapping[str, Any]) -> Binding | None:
    binding = element.get("binding")
    if not isinstance(binding, dict):
        return None
    value_set = _text(binding, "valueSet")
    required = [value_set] if value_set and _text(binding, "strength") == "required" else []
    for extension in objects(binding, "extension"):
        url = _text(extension, "url")
        if url == _MAX_VALUE_SET:
            required += [value for name, value in extension.items() if name in {"valueCanonical", "valueUri"}]
        elif url in _ADDITIONAL_BINDINGS:
            required += _additional(
                {
                    str(part.get("url")): part.get("valueCode") or part.get("valueCanonical")
                    for part in objects(extension, "extension")
                }
            )
    for additional in objects(binding, "additional"):
        required += _additional(additional)
    return Binding(tuple(dict.fromkeys(required)))


def _additional(binding: Mapping[str, Any]) -> list[str]:
    """The value set of an additional binding that always applies, and is more than advice."""
    is_binding = binding.get("purpose") in {"required", "maximum"} and "usage" not in binding
    value_set = binding.get("valueSet")
    return [value_set] if is_binding and isinstance(value_set, str) else []


def _constraints(element: Mapping[str, Any], source: str) -> dict[str, Constraint]:
    return {
        key: Constraint(
            key,
            _text(each, "severity") or "error",
            _text(each, "human"),
            _text(each, "expression"),
            _text(each, "source") or source,
        )
        for each in objects(element, "constraint")
        if (key := _text(each, "key"))
    }


def _slicing(element: Mapping[str, Any]) -> Slicing | None:
    slicing = element.get("slicing")
    if not isinstance(slicing, dict):
        return None
    discriminators: Sequence[Discriminator] = [
        Discriminator(_text(each, "type"), _text(each, "path")) for each in objects(slicing, "discriminator")
    ]
    return Slicing(tuple(discriminators), _text(slicing, "rules") or "open", slicing.get("ordered") is True)
