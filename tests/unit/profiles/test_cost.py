"""What a check costs, as the number of functions that are called: a bound that no load of a machine moves."""

import gc
import sys
from types import FrameType
from typing import Any

from broker.model.release import Release
from broker.profiles.vital_signs import US_CORE
from tests.unit.profiles.catalogs import shipped
from tests.unit.profiles.examples import blood_pressure, resource_of

_MAX_CALLS = 480
"""It was 454 in Python 3.11 when this was written; patterns that were compared by a walk took 491."""


def test_a_blood_pressure_by_two_profiles_takes_a_bounded_number_of_calls() -> None:
    resource = resource_of(blood_pressure(f"{US_CORE}us-core-blood-pressure"))
    catalog, calls = shipped(), 0
    assert not catalog.validate(Release.R4, resource)

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    gc.disable()  # it would call the finalizers of what other tests have left
    sys.setprofile(count)
    try:
        catalog.validate(Release.R4, resource)
    finally:
        sys.setprofile(before)
        gc.enable()
    assert 100 < calls <= _MAX_CALLS
