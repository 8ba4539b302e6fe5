"""Stages overlap, and none of them is at two variables at a time."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr

from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob, GfsSourceFileCoord
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.values import Array2D, Float32Array
from reformatters_dagster.core.spec.variables import DataVar
from tests.datasets import INIT, INSTANT, RAIN, SUN, TEMPERATURE, VARIABLES, WIND, WINDOWED, Site

pytest_plugins = ["tests.datasets"]


def test_one_buffer_and_one_group_of_files_at_a_time(site: Site) -> None:
    """Files of a group go when its last variable is read."""
    downloads: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    left: dict[str, int] = {}
    buffers: list[Float32Array] = []

    class Watching(GfsForecastRegionJob):
        def download_file(self, coord: GfsSourceFileCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
            downloaded = super().download_file(coord, data_vars, folder)
            downloads[tuple(data_var.name for data_var in data_vars)].append(downloaded.path)
            return downloaded

        def apply_data_transformations(self, values: Float32Array, data_var: DataVar, region_ds: xr.Dataset) -> None:
            left[data_var.name] = sum(path.exists() for path in downloads[SUN, RAIN])
            buffers.append(values)

    site.arrive(INIT)
    site.having(region_job=Watching).job().process()
    assert left == {SUN: 9, RAIN: 9, TEMPERATURE: 0, WIND: 0}
    assert [buffer.shape for buffer in buffers] == [(1, 10, 19, 36)] * 4
    assert all(np.shares_memory(buffers[0], buffer) for buffer in buffers)


class Timeline:
    """What began, in order; and waiting for what is yet to begin."""

    def __init__(self) -> None:
        self.began: list[tuple[str, str]] = []
        self.changed = threading.Condition()

    def note(self, stage: str, variable: str) -> None:
        with self.changed:
            if (stage, variable) not in self.began:
                self.began.append((stage, variable))
            self.changed.notify_all()

    def wait_for(self, stage: str, variable: str) -> None:
        with self.changed:
            in_time = self.changed.wait_for(lambda: (stage, variable) in self.began, timeout=30)
        assert in_time, f"{stage} of {variable} never began; {self.began}"


def test_stages_overlap(site: Site) -> None:
    """A variable's upload does not end before the next one is read, nor a read before the next group downloads."""
    order = [*sorted(WINDOWED), *sorted(INSTANT)]
    following = dict(pairwise(order))
    timeline = Timeline()

    class Slow(GfsForecastRegionJob):
        def download_file(self, coord: GfsSourceFileCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
            timeline.note("download", data_vars[0].name)
            return super().download_file(coord, data_vars, folder)

        def read_data(self, coord: GfsSourceFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
            timeline.note("read", data_var.name)
            if data_var.name == order[0]:
                timeline.wait_for("download", order[2])
            time.sleep(0.03)
            return super().read_data(coord, data_var, downloaded)

    def slow_put(url: str, key: str) -> None:
        variable = key.partition("/")[0]
        timeline.note("upload", variable)
        if variable in following:
            timeline.wait_for("read", following[variable])

    site.arrive(INIT)
    replace(site, before_put=slow_put).having(region_job=Slow).job().process()
    for stage in ("read", "upload"):
        assert [variable for began, variable in timeline.began if began == stage] == order
    assert timeline.began.index(("download", order[2])) < timeline.began.index(("read", order[1]))


def test_one_variable_uploads_at_a_time(site: Site) -> None:
    uploading: set[str] = set()
    together: list[set[str]] = []
    puts: dict[str, int] = defaultdict(int)
    lock = threading.Lock()

    def watch(url: str, key: str) -> None:
        variable = key.partition("/")[0]
        with lock:
            uploading.add(variable)
            together.append(set(uploading))
        time.sleep(0.02)
        with lock:
            puts[variable] += 1
            if puts[variable] == 2:
                uploading.remove(variable)

    site.arrive(INIT)
    replace(site, before_put=watch).job().process()
    assert puts == dict.fromkeys(VARIABLES, 2)
    assert max(map(len, together)) == 1


def test_progress_and_stats_count_everything(site: Site) -> None:
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    site.arrive(INIT)
    job = site.job(on_progress=lambda stage, done, total: seen[stage].append((done, total)))
    results = job.process()
    nine, ten = ([(done, total) for done in range(1, total + 1)] for total in (9, 10))
    assert {stage: sorted(steps) for stage, steps in seen.items()} == {
        f"download {SUN},{RAIN}": nine,
        f"download {TEMPERATURE},{WIND}": ten,
        **{f"read {name}": nine for name in WINDOWED},
        **{f"read {name}": ten for name in INSTANT},
        **{f"{what} {name}": [(0, 1), (1, 1)] for name in VARIABLES for what in ("compress", "upload")},
        "variables": [(0, len(VARIABLES))],
    }
    assert job.stats.objects_out == 8
    assert job.stats.bytes_out == sum(size for _, size in site.stores.primary.list())
    assert job.stats.bytes_in == sum(file.bytes for files in results.values() for file in files)
    assert set(job.stats.seconds) == {"download", "read", "transform", "write", "upload"}
    assert type(job.stats).from_json(job.stats.to_json()) == job.stats
