"""A short selection of the fault campaign; `make faults` runs all of it."""

import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import Scenario, Size, run_scenario, short_folder
from tests.faults.scenarios.table import SELECTION


@pytest.mark.parametrize("scenario", SELECTION, ids=lambda scenario: scenario.name)
async def test_nothing_is_lost_or_out_of_order(scenario: Scenario, tmp_path: Path) -> None:
    with short_folder() as folder:
        try:
            result, verdict = await run_scenario(scenario, folder, Size(is_short=True))
        finally:
            for log in folder.glob("*.log"):
                shutil.copy(log, tmp_path)
        assert result.is_good, verdict
        assert result.faults, "no fault was injected"
