"""Whose messages a dataset takes: those of its model, by centre and generating process, and no other of the real files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from dataset_defs.contrib import mrms_guam
from dataset_defs.dwd.icon_eu import forecast as icon_eu
from dataset_defs.ecmwf.aifs_single import forecast as aifs_single
from dataset_defs.ecmwf.ifs_ens import forecast as ifs_ens
from dataset_defs.noaa.gefs import analysis as gefs_analysis
from dataset_defs.noaa.gefs import forecast as gefs
from dataset_defs.noaa.gfs import analysis as gfs_analysis
from dataset_defs.noaa.gfs import forecast as gfs
from dataset_defs.noaa.hrrr import analysis as hrrr_analysis
from dataset_defs.noaa.hrrr import forecast as hrrr
from reformatters_dagster.core.grib.header import MessageHeader, read_header
from tests.core.grib.real_messages import DATA, messages_of

pytestmark = pytest.mark.usefixtures("shared_data")

MODELS: Mapping[str, tuple[str, ...]] = {
    "gfs": ("gfs/*.grib2", "gfs/*.f0??", "gfs/*.grib", "idx_pairs/rouault__gdal--gfs*.grib2"),
    "gefs": ("gefs/*.grib", "gefs/*.grb2", "gefs/*.f012"),
    "hrrr": ("hrrr/*.grib2",),
    "ifs": ("ecmwf/*ecmwf-ifs*.grib2", "ecmwf/*oper-fc*.xz", "ecmwf/*s2s*.grib2"),
    "aifs": ("ecmwf/*aifs*.grib2",),
    "icon": ("dwd_icon/*icon*.bz2", "dwd_icon/*icon*.grib2"),
    "cosmo": ("dwd_icon/*cosmo*.grib2",),
    "mrms": ("mrms/*.gz",),
    "waves": ("idx_pairs/*gfswave*.grib2",),
    "cmc": ("accum_sequence_cmc/*.grib2",),
}
JOBS: Mapping[type[Any], str] = {
    gfs.GfsForecastRegionJob: "gfs",
    gfs_analysis.GfsAnalysisRegionJob: "gfs",
    gefs.GefsForecastRegionJob: "gefs",
    gefs_analysis.GefsAnalysisRegionJob: "gefs",
    hrrr.HrrrForecastRegionJob: "hrrr",
    hrrr_analysis.HrrrAnalysisRegionJob: "hrrr",
    ifs_ens.IfsEnsForecastRegionJob: "ifs",
    aifs_single.AifsSingleForecastRegionJob: "aifs",
    icon_eu.IconEuForecastRegionJob: "icon",
    mrms_guam.MrmsGuamRegionJob: "mrms",
}


@dataclass
class Coord:
    init_time: pd.Timestamp


TODAY = Coord(pd.Timestamp("2026-07-29"))


def headers(model: str) -> list[MessageHeader]:
    paths = [path for pattern in MODELS[model] for path in sorted(DATA.glob(pattern))]
    found = [read_header(message, path.name) for path in paths for message, _ in messages_of(path)]
    assert found
    return found


def takes(job: type[Any], header: MessageHeader, coord: Coord = TODAY) -> bool:
    processes = job.processes(job, coord)
    return bool(job.centre == header.centre and (processes is None or header.process in processes))


@pytest.mark.parametrize("model", MODELS)
def test_a_dataset_takes_every_real_message_of_its_model_and_none_of_another(model: str) -> None:
    for header in headers(model):
        for job, own in JOBS.items():
            assert takes(job, header) is (own == model), (job.__name__, header.centre, header.process)


@pytest.mark.parametrize(
    ("job", "first", "model"),
    [
        (gefs_analysis.GefsAnalysisRegionJob, "2020-01-01T00", "gfs"),
        (hrrr.HrrrForecastRegionJob, "2020-12-02T12", "gfs"),
        (hrrr_analysis.HrrrAnalysisRegionJob, "2020-12-02T12", "gfs"),
        (aifs_single.AifsSingleForecastRegionJob, "2025-02-24T06", "ifs"),
    ],
)
def test_before_any_file_shows_it_a_message_may_name_any_process(job: type[Any], first: str, model: str) -> None:
    """Of the same centre. `first` is the init time from which on the process is known."""
    header, known = headers(model)[0], pd.Timestamp(first)
    assert takes(job, header, Coord(known - pd.Timedelta("1h")))
    assert not takes(job, header, Coord(known))
    assert not takes(job, headers("icon")[0], Coord(known - pd.Timedelta("1h")))
