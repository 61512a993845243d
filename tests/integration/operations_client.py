"""Writes and reads the Parameters of operations such as `$explain`."""

from typing import Any

from broker.fhir.operation_definitions import OPERATIONS
from broker.testing.readings import HEART_RATE, observation

AT = "2025-03-01T08:00:00Z"


def reading(patient: str = "ana", value: float = 80, **more: Any) -> dict[str, Any]:
    return observation(HEART_RATE, patient, AT, value) | more


def question(**arguments: Any) -> dict[str, Any]:
    """Parameters with resources for dictionaries and strings for everything else."""
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": name, "resource": argument}
            if isinstance(argument, dict)
            else {"name": name, "valueString": str(argument)}
            for name, argument in arguments.items()
        ],
    }


def value(parts: Any, name: str) -> Any:
    """The value of the first part with this name; None without one."""
    parts = parts.get("parameter", []) if isinstance(parts, dict) else parts
    named = [part for part in parts if part["name"] == name]
    return next((content for part in named for key, content in part.items() if key.startswith("value")), None)


def groups(parts: Any, name: str) -> list[list[dict[str, Any]]]:
    """The parts of every parameter with this name."""
    parts = parts.get("parameter", []) if isinstance(parts, dict) else parts
    return [part["part"] for part in parts if part["name"] == name]


def names(parts: list[dict[str, Any]]) -> set[str]:
    return {part["name"] for part in parts}


def check_defined(code: str, answer: dict[str, Any]) -> None:
    """Every name in the answer is one the OperationDefinition lists, as often as that allows."""
    operation = next(item for item in OPERATIONS if item.code == code)
    waiting: list[tuple[Any, list[dict[str, Any]]]] = [
        ([item for item in operation.parameters if item.use == "out"], answer["parameter"])
    ]
    while waiting:
        defined, parts = waiting.pop()
        assert names(parts) <= {item.name for item in defined}
        for item in defined:
            parameters = [part for part in parts if part["name"] == item.name]
            assert len(parameters) >= item.min, item.name
            assert item.max == "*" or len(parameters) <= int(item.max), item.name
            for part in parameters:
                if item.parts:
                    waiting.append((item.parts, part["part"]))
                else:
                    assert f"value{item.type[0].upper()}{item.type[1:]}" in part
