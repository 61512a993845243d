"""Writes and reads the Parameters of operations such as `$explain`."""

from typing import Any

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
