"""A short selection of the fault campaign; `make faults` runs the whole."""

import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import Scenario, Size, judged, short_folder
from tests.faults.scenarios.table import SELECTION


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", SELECTION, ids=lambda one: one.name)
async def test_nothing_is_lost_or_out_of_order(scenario: Scenario, tmp_path: Path) -> None:
    with short_folder() as folder:
        try:
            result, verdict = await judged(scenario, folder, Size(is_short=True))
        finally:
            for log in folder.glob("*.log"):
                shutil.copy(log, tmp_path)
        assert result.is_good, verdict
        assert result.faults, "nothing was broken"
