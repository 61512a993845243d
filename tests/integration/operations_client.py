"""Parameters as the tests of `$explain` and `$dry-run` write and read them."""

from typing import Any

from broker.testing.readings import HEART_RATE, observation

AT = "2025-03-01T08:00:00Z"


def reading(patient: str = "ana", value: float = 80, **more: Any) -> dict[str, Any]:
    return observation(HEART_RATE, patient, AT, value) | more


def question(**parameters: Any) -> dict[str, Any]:
    """Parameters: resources as such, everything else as strings."""
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": name, "resource": item}
            if isinstance(item, dict)
            else {"name": name, "valueString": str(item)}
            for name, item in parameters.items()
        ],
    }


def value(parts: Any, name: str) -> Any:
    """The value of the one part of that name; None without it."""
    parts = parts["parameter"] if isinstance(parts, dict) else parts
    results = [part for part in parts if part["name"] == name]
    return next((item for part in results for key, item in part.items() if key.startswith("value")), None)


def groups(parts: Any, name: str) -> list[list[dict[str, Any]]]:
    parts = parts["parameter"] if isinstance(parts, dict) else parts
    return [part["part"] for part in parts if part["name"] == name]
