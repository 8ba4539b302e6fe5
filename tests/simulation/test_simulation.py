"""Fixed seeds of the simulator; and the simulator itself: the same each time, and able to find what is broken."""

import subprocess
import sys
from typing import Any

import pytest

from reformatters_dagster.core.source.files import Downloaded
from tests.simulation.dataset import SimulatedJob
from tests.simulation.faults import Families, only
from tests.simulation.folders import folder
from tests.simulation.known_breaks import MENDED, OPEN, Row
from tests.simulation.layouts import ANALYSIS, FORECAST, LONG_ANALYSIS, Layout
from tests.simulation.promises import NAMES
from tests.simulation.shrinking import shrink
from tests.simulation.world import simulate


@pytest.mark.parametrize(
    ("layout", "runs"), [(ANALYSIS, 20), (LONG_ANALYSIS, 20), (FORECAST, 8)], ids=lambda one: getattr(one, "name", None)
)
def test_nothing_breaks_where_nothing_goes_wrong(layout: Layout, runs: int) -> None:
    outcome = simulate(1, families=Families(), layout=layout)
    assert not outcome.broken
    assert outcome.runs >= runs


def test_a_seed_is_the_same_each_time() -> None:
    one, two = (simulate(4, trace=True) for _ in range(2))
    assert one.trace == two.trace
    assert one.faults


_OPEN = pytest.mark.xfail(strict=True, reason="an open break: move its row when it is mended")


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [*MENDED, *(pytest.param(row, marks=_OPEN) for row in OPEN)], ids=lambda row: f"{row.what}-{row.seed}"
)
def test_known_breaks(row: Row) -> None:
    assert row.promise in NAMES
    assert row.promise not in simulate(row.seed, families=row.faults, layout=row.layout).promises


class FailingJob(SimulatedJob):
    """A job that fails in a way that ends the whole simulation."""

    def get_processing_region(self) -> slice:
        raise SystemExit


def test_a_seed_leaves_no_folder_behind() -> None:
    seen: list[bool] = []

    class WatchingJob(SimulatedJob):
        def get_processing_region(self) -> slice:
            seen.append(folder().is_dir())
            return super().get_processing_region()

    simulate(2, region_job=WatchingJob, layout=ANALYSIS)
    assert set(seen) == {True}
    assert not folder().exists()
    with pytest.raises(SystemExit):
        simulate(2, region_job=FailingJob, layout=ANALYSIS)
    assert not folder().exists()


class ForgetfulJob(SimulatedJob):
    """A job that does not say in which version it has read a file."""

    def fetch(self, *wanted: Any) -> Downloaded:
        return super().fetch(*wanted).model_copy(update={"etag": None})


@pytest.mark.slow
def test_a_corrected_file_that_nobody_reads_again_is_found() -> None:
    families, wrong = only("corrected_files", "late_files"), ForgetfulJob
    outcomes = (simulate(seed, families=families, region_job=wrong, layout=ANALYSIS) for seed in range(1, 6))
    seed = next(outcome.seed for outcome in outcomes if "store is truth" in outcome.promises)
    (fault,) = shrink(seed, "store is truth", families, most_tries=40, region_job=wrong, layout=ANALYSIS)
    assert "v2 whole" in fault


@pytest.mark.slow
def test_the_command_prints_a_line_a_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "1-2", "--only", "late_files"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = found.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["seed=1", "seed=2", "seeds=2"], found.stderr
