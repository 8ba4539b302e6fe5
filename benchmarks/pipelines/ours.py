"""This project's pipeline: `RegionJob.process` over a local mirror, chunks published to a local folder."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.passes import run_twice
from benchmarks.stopwatch import Stopwatch
from benchmarks.task import INIT_TIME, KEEP_MANTISSA_BITS, VARIABLES, Task
from benchmarks.threaded_shards import use_writer
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import TEMPLATE, GfsForecastRegionJob
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from reformatters_dagster.core.field.transforms import deaccumulate_in_place, round_in_place
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.shard.writer import write_shards
from reformatters_dagster.core.spec.axes import AppendAxis, lead_time
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.template_files import write_arrays
from reformatters_dagster.core.spec.variables import Deaccumulation
from reformatters_dagster.core.spec.zarr_documents import document_key
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.core.store.upload import publish_chunks

INIT = pd.Timestamp(INIT_TIME).as_unit("us")


class BenchTemplate(TemplateConfig):
    """A template that is committed to a folder of the benchmark's own."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.dataset_id / "latest.zarr"


def dataset_of(task: Task) -> DynamicalDataset:
    """GFS at its full grid with the lead times and variables of the task."""
    dims = ("init_time", "lead_time", "latitude", "longitude")
    template = BenchTemplate(
        folder=Path(task.template),
        dataset_id="bench-gfs-forecast",
        dataset_version="0.1.0",
        attributes=TEMPLATE.attributes,
        append_dim=AppendAxis(name="init_time", start=INIT, frequency="6h"),
        dims=(lead_time(hourly_to=f"{task.lead_hours - 1}h"),),
        grid=TEMPLATE.grid,
        chunks=dict(zip(dims, task.chunks, strict=True)),
        shards=dict(zip(dims, task.shards, strict=True)),
        data_vars=tuple(row for row in GFS_DATA_VARS if row.name in VARIABLES),
    )
    return DynamicalDataset(template_config=template, region_job=GfsForecastRegionJob, archives=GFS_ARCHIVES)


def job_of(task: Task, folder: Path) -> tuple[RegionJob[Any], Workspace]:
    """The one region job of the task, and where it publishes to."""
    dataset = dataset_of(task)
    settings = Settings(store=str(folder / "stores"), upstream=task.mirror, tmp=str(folder / "tmp"))
    workspace = dataset.workspace(settings)
    template_ds = dataset.template_config.get_template(INIT + pd.Timedelta("1h"))
    context = dataset.context(workspace, INIT + pd.Timedelta("1D"))
    (job,) = dataset.region_job.get_jobs(context, template_ds)
    return job, workspace


def load_kernels(task: Task) -> None:
    """Load what is compiled, as the first message of a process does: a part of its start-up, as imports are."""
    for variable in VARIABLES:
        decode(task.message(variable, task.lead_hours - 1))
    values = np.zeros((2, 8), np.float32)
    deaccumulate_in_place(values, np.array([0.0, 3600.0]), Deaccumulation(reset=pd.Timedelta("6h")), axis=0)
    round_in_place(values, KEEP_MANTISSA_BITS)


def run(task: Task, writer: str | None = None) -> None:
    """Time the whole job, from its template to published chunks; `writer` is one of `benchmarks.shards.WRITERS`."""
    load_kernels(task)
    if writer is not None:
        use_writer(writer)

    def work(task: Task) -> dict[str, dict[str, float]]:
        job, workspace = job_of(task, task.tmp)
        job.process()
        Path(workspace.stores.primary.url).rename(task.output)
        return {"stages": job.stats.seconds}

    run_twice(task, work)
    for variable in VARIABLES:
        document = document_key(variable)
        shutil.copy(dataset_of(task).template_config.path / document, task.output / document)


def run_stages(task: Task) -> None:
    """The same work stage by stage on one thread, so that each one's CPU can be told."""
    load_kernels(task)
    buffer = np.empty(task.shape, np.float32)

    def work(task: Task) -> dict[str, dict[str, float]]:
        watch, folder = Stopwatch(), task.tmp
        with watch.timed("template"):
            job, workspace = job_of(task, folder)
            write_arrays(job.template_ds, VARIABLES, folder / "stage-tmp.zarr")
        for data_var in job.data_vars:
            with watch.timed("download and verify"):
                coords = job.generate_source_file_coords(job.template_ds, [data_var])
                files = [(coord, job.download_file(coord, [data_var], folder)) for coord in coords]
            with watch.timed("decode"):
                for coord, downloaded in files:
                    lead = int(coord.out_loc()["lead_time"] / pd.Timedelta("1h"))
                    job.read_into(coord, data_var, downloaded, buffer[0, lead])
                buffer[0, : task.leads(data_var.name)[0]] = np.nan
            with watch.timed("transform"):
                job.apply_data_transformations(buffer, data_var, job.template_ds)
            with watch.timed("compress and write"):
                write_shards(buffer, folder / "stage-tmp.zarr", data_var.name, job.region, threads=1)
            with watch.timed("upload"):
                publish_chunks(folder / "stage-tmp.zarr", workspace.stores, data_var.name, 0)
        return {"stages": watch.cpu}

    run_twice(task, work)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [path, "--stages"]:
            run_stages(Task.read(Path(path)))
        case [path, "--writer", writer]:
            run(Task.read(Path(path)), writer)
        case [path]:
            run(Task.read(Path(path)))
