"""A short soak; `make soak` is the long one, which also judges how memory develops."""

import sys

import pytest

from tests.faults.campaign import short_folder
from tests.soak.soak import Size, run

SHORT = Size(load_s=12, warm_s=3, sample_s=1, retention_s=3, per_s=20, partitions=4)


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
async def test_nothing_is_left_over_after_load_of_every_kind() -> None:
    with short_folder() as folder:
        result = await run(folder, SHORT, lambda _text, _share: None)
    assert result.failed == []
    assert result.left_over == {}
    assert {"changes", "resource"} <= result.lifetimes.compared.keys()
    assert result.lifetimes.overdue == []
    assert all(result.done.values())
    assert "Traceback" not in result.log
