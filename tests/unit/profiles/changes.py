"""What changes of an example are made of."""

import copy
from collections.abc import Callable
from typing import Any

from tests.unit.profiles.examples import Json

ABSENT = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"},
    ]
}
Change = Callable[[Json], str | None]
"""Changes the resource in place. Gives the path of the fault, None if the change does not apply to it."""


def replace(path: str, *names: str, **elements: Any) -> Change:
    """Removes the elements, of which the first has to be there, and sets others."""

    def change(fields: Json) -> str | None:
        if names[0] not in fields:
            return None
        for name in names:
            fields.pop(name, None)
        fields.update(copy.deepcopy(elements))
        return f"Observation.{path}" if path else "Observation"

    return change
