"""One partition of a dataset so small that what remains is the cost of running it.

It has as many steps as a partition of `noaa-gfs-forecast`: plan, two groups of variables, commit.
"""

from pathlib import Path

import pandas as pd

from benchmarks.pipelines.ours import INIT, BenchTemplate
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import TEMPLATE, GfsForecastRegionJob
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.sample_upstream import write_sample_upstream

STEP = 10.0
VARIABLES = ("temperature_2m", "precipitation_surface")
NOW = INIT + pd.Timedelta("5h")
FOLDER = "BENCHMARK_PROBE_FOLDER"


def dataset_in(folder: Path) -> DynamicalDataset:
    template = BenchTemplate(
        folder=folder / "templates",
        dataset_id="bench-gfs-probe",
        dataset_version="0.1.0",
        attributes=TEMPLATE.attributes,
        append_dim=AppendAxis(name="init_time", start=INIT, frequency="6h"),
        dims=(lead_time(hourly_to="1h"),),
        grid=LatLonGrid(
            latitude=RegularAxis(first=90.0, step=-STEP, size=19),
            longitude=RegularAxis(first=-180.0, step=STEP, size=36),
        ),
        chunks={"init_time": 1, "lead_time": 2, "latitude": 19, "longitude": 18},
        shards={"init_time": 1, "lead_time": 2, "latitude": 19, "longitude": 36},
        data_vars=tuple(row for row in GFS_DATA_VARS if row.name in VARIABLES),
    )
    return DynamicalDataset(template_config=template, region_job=GfsForecastRegionJob, archives=GFS_ARCHIVES)


def settings_in(folder: Path) -> Settings:
    return Settings(store=str(folder / "stores"), upstream=str(folder / "mirror"), tmp=str(folder / "tmp"))


def prepare(folder: Path) -> None:
    """Write the inputs, commit the template and create the store."""
    write_sample_upstream(folder / "mirror", [INIT], range(2), variables=VARIABLES, step=STEP)
    dataset = dataset_in(folder)
    dataset.template_config.update_template()
    dataset.initialise(dataset.workspace(settings_in(folder)), None, NOW)
