"""Files that were never made: nobody asks for them, waits for them or misses them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.spec.variables import DataVar
from tests.datasets import INIT, SECOND, SOON, TEMPERATURE, Site, assert_true

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")
ASKED: list[str] = []
"""Keys of files that `KnownAnalysis` asked for."""


class KnownForecast(GfsForecastRegionJob):
    known_missing_files = ("gfs.20260729/18/atmos/*.f003", "gfs.19990101/00/atmos/gfs.t00z.pgrb2.0p25.f000")


class KnownAnalysis(GfsAnalysisRegionJob):
    known_missing_files = ("gfs.20260729/18/atmos/*.f002",)

    def download_file(self, coord: Any, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        ASKED.append(coord.key())
        return super().download_file(coord, data_vars, folder)


def test_a_partition_is_complete_without_them(site: Site) -> None:
    site.arrive(INIT)
    site.remove(3)
    assert not site.update().commits[0].entry.is_complete
    whole = site.having(region_job=KnownForecast)
    entry = whole.backfill(overwrite_chunks=True).commits[0].entry
    assert entry.is_complete
    assert entry.variables[TEMPERATURE].expected == 9
    ds = whole.read()
    assert np.isnan(ds[TEMPERATURE].sel(lead_time=3 * HOUR)).all()
    assert_true(ds[TEMPERATURE].sel(init_time=INIT, lead_time=4 * HOUR), TEMPERATURE, INIT, 4)
    assert whole.job().upstream_objects().keys() == site.job().upstream_objects().keys() - {
        "gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f003"
    }


def test_only_those_of_the_list_are_left_out(site: Site) -> None:
    site.arrive(INIT, SECOND)
    site.remove(3)
    site.remove(3, init_time=SECOND)
    commits = site.having(region_job=KnownForecast).update(SECOND + SOON).commits
    assert [commit.entry.is_complete for commit in commits] == [True, False]


def test_a_shard_in_progress_stops_trying_a_file_that_joins_the_list(analysis: Site) -> None:
    analysis.file(2).unlink()
    analysis.update(INIT + 4 * HOUR)
    listed = analysis.having(region_job=KnownAnalysis)
    for hours in (5, 6):
        ASKED.clear()
        commit = listed.update(INIT + hours * HOUR).commits[-1]
        assert commit.entry.is_complete
        assert not [key for key in ASKED if key.endswith("f002")]
    assert len(ASKED) < len(listed.job().upstream_objects())
    ds = listed.read()
    assert np.isnan(ds[TEMPERATURE].sel(time=INIT + 2 * HOUR)).all()
    assert_true(ds[TEMPERATURE].sel(time=INIT + 3 * HOUR), TEMPERATURE, INIT, 3)
