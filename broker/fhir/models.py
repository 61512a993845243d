"""The model classes of fhir.resources by release.

R4 uses those of R4B, which are the same for the types that both have.

The classes of a type are imported when they are first needed.
"""

from collections.abc import Callable
from functools import cache
from typing import cast

from fhir.resources import get_fhir_model_class as find_r5
from fhir.resources.R4B import get_fhir_model_class as find_r4b
from pydantic import BaseModel

from broker.model.release import Release


@cache
def model_class(release: Release, name: str) -> type[BaseModel]:
    """The class of a resource type, a data type or a backbone element.

    Raises `KeyError` or `ValueError` if there is none.
    """
    find = cast("Callable[[str], type[BaseModel]]", find_r5 if release is Release.R5 else find_r4b)
    return find(name)
