"""A region job from files to chunks: true values, honest results, and nothing left behind whatever happens."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob, GfsSourceFileCoord
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import MissingFile, VariableCoverage
from reformatters_dagster.core.source.files import Downloaded, FileResult, Results, SourceFileStatus
from reformatters_dagster.core.spec.errors import StoreUnavailable, UnknownVariable
from reformatters_dagster.core.spec.values import MOMENT, Array2D, Float32Array, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.store.initialise import create_store
from tests.datasets import (
    IN_ORDER,
    INIT,
    INSTANT,
    LEADS,
    NOMADS,
    PRIMARY,
    RAIN,
    SECOND,
    SOON,
    SUN,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    WIND,
    WINDOWED,
    Sample,
    Site,
    assert_forecast_true,
    assert_true,
    gfs_forecast,
    gfs_key,
    open_as_reader,
)
from tests.stores import Stopped
from tests.upstreams import FaultServer, Status

pytest_plugins = ["tests.datasets"]

ROOT = Path(__file__).parents[3]
BAD = 3
ALL_SUCCEEDED = {variable: {SourceFileStatus.SUCCEEDED} for variable in IN_ORDER}
HOUR = Timedelta("1h")


def processed(site: Site, job: RegionJob[Any]) -> tuple[Results, xr.Dataset]:
    """Results of a job, and what a reader sees of it."""
    create_store(site.dataset.template_config, site.workspace, INIT + MOMENT)
    return job.process(), site.read()


def chunk_keys(site: Site) -> set[str]:
    return {key for key, _ in site.stores.primary.list() if "/c/" in key}


def statuses(results: Results) -> dict[str, set[SourceFileStatus]]:
    return {variable: {result.status for result in files} for variable, files in results.items()}


def of_lead(files: Sequence[FileResult], lead: int) -> FileResult:
    (found,) = (file for file in files if file.coord.out_loc()["lead_time"] == lead * HOUR)
    return found


def test_values_are_the_true_ones(site: Site) -> None:
    site.arrive(INIT)
    results, ds = processed(site, site.job())
    assert_forecast_true(ds, INIT)
    assert list(site.tmp.iterdir()) == []
    assert list(results) == list(IN_ORDER)
    assert statuses(results) == ALL_SUCCEEDED
    assert {name: len(files) for name, files in results.items()} == {RAIN: 9, SUN: 9, TEMPERATURE: 10, WIND: 10}


def test_results_tell_where_each_file_came_from(site: Site) -> None:
    site.arrive(INIT)
    file = of_lead(site.job(variables=[WIND]).process()[WIND], BAD)
    lines = (site.file(BAD).parent / f"{site.file(BAD).name}.idx").read_text().splitlines()
    starts = {line.split(":")[3]: int(line.split(":")[1]) for line in reversed(lines)}
    assert file.coord == GfsSourceFileCoord(init_time=INIT, lead_time=BAD * HOUR)
    assert file.archive == PRIMARY
    assert file.bytes == starts["APCP"] - starts["UGRD"]
    assert file.etag is not None
    assert f"{site.file(BAD).stat().st_size:x}" in file.etag
    assert file.reason is None


def test_a_rate_needs_the_total_of_the_hour_before(site: Site) -> None:
    """A missing total blanks its own hour and the next one; the first after a reset stands by itself."""
    site.arrive(INIT)
    site.remove(BAD, 6)
    _, ds = processed(site, site.job())
    for lead in LEADS:
        field = ds[RAIN].sel(init_time=INIT, lead_time=lead * HOUR)
        if lead in {BAD, BAD + 1, 6}:
            assert field.isnull().all()
        else:
            assert_true(field, RAIN, INIT, lead)


def rewrite_index(path: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    """Change the fields of an index's lines: number, start, and the rest."""
    index = path.with_name(f"{path.name}.idx")
    lines = [line.split(":", 2) for line in index.read_text().splitlines()]
    index.write_text("".join(":".join(line) + "\n" for line in change(lines)))


def message_ranges(path: Path) -> dict[str, slice]:
    """Where each message of a file is, by element; the bucket's total, not the run's, is APCP."""
    lines = path.with_name(f"{path.name}.idx").read_text().splitlines()
    starts = [int(line.split(":")[1]) for line in lines]
    stops = [*starts[1:], path.stat().st_size]
    elements = [line.split(":")[3] for line in lines]
    return {
        element: slice(start, stop)
        for element, start, stop in reversed(list(zip(elements, starts, stops, strict=True)))
    }


def shift_index(path: Path) -> None:
    rewrite_index(path, lambda lines: [lines[0], *([number, str(int(at) + 7), rest] for number, at, rest in lines[1:])])


def swap_lines(path: Path) -> None:
    """The index names the first two messages in the other order."""
    rewrite_index(
        path,
        lambda lines: [[*lines[0][:2], lines[1][2]], [*lines[1][:2], lines[0][2]], *lines[2:]],
    )


def index_of_yesterday(path: Path) -> None:
    rewrite_index(path, lambda lines: [[*line[:2], line[2].replace("d=20260729", "d=20260728")] for line in lines])


def garbled_index(path: Path) -> None:
    path.with_name(f"{path.name}.idx").write_text("<html>Busy</html>\n")


def remove_index(path: Path) -> None:
    path.with_name(f"{path.name}.idx").unlink()


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap_messages(path: Path) -> None:
    data, at = path.read_bytes(), message_ranges(path)
    assert (at["TMP"].start, at["TMP"].stop) == (0, at["UGRD"].start)
    path.write_bytes(data[at["UGRD"]] + data[at["TMP"]] + data[at["UGRD"].stop :])


def damage(path: Path) -> None:
    """Spoil the packed groups of the temperature; lengths and identity stay right."""
    data, at = bytearray(path.read_bytes()), message_ranges(path)["TMP"].start + 16
    while data[at + 4] != 7:
        at += int.from_bytes(data[at : at + 4])
    length = int.from_bytes(data[at : at + 4])
    data[at + 5 : at + length] = b"\xff" * (length - 5)
    path.write_bytes(data)


MISSING, CORRUPT = SourceFileStatus.DOWNLOAD_FAILED, SourceFileStatus.READ_FAILED

type Fault = tuple[int, Callable[[Path], None], SourceFileStatus, Sequence[str], str]
FAULTS: tuple[Fault, ...] = (
    (0, Path.unlink, MISSING, INSTANT, r"SourceFileMissing: '.*\.f000' at '.*' is missing \(no such file\)"),
    (1, remove_index, MISSING, VARIABLES, r"SourceFileMissing: '.*\.f001\.idx' at '.*' is missing"),
    (2, garbled_index, MISSING, VARIABLES, r"CorruptMessage: .*f002\.idx line 1 does not parse: '<html>Busy</html>'"),
    (3, shift_index, MISSING, VARIABLES, r"CorruptMessage: \w+:.* in \S+\.f003"),
    (4, swap_lines, MISSING, INSTANT, r"CorruptMessage: .*\.f004 is another message: parameter asked \(0, 0, 0\)"),
    (5, index_of_yesterday, MISSING, VARIABLES, r"does not have .*:[-0-5]+ hour .*2026-07-29 18.* of .*2026-07-28 18"),
    (6, cut_in_half, MISSING, VARIABLES, r"CorruptMessage: .*f006\.idx line \d starts .* outside \d+ bytes"),
    (7, swap_messages, MISSING, INSTANT, r"CorruptMessage: TMP:2 m above ground in \S+\.f007"),
    (8, damage, CORRUPT, [TEMPERATURE], r"CorruptMessage: TMP:2 m above ground in \S+\.f008: "),
)


def test_bad_files_are_told_and_stop_no_other(site: Site) -> None:
    site.arrive(INIT)
    for lead, spoil, *_ in FAULTS:
        spoil(site.file(lead))
    results, ds = processed(site, site.job())
    for lead, _, status, variables, reason in FAULTS:
        for variable in set(VARIABLES) - ({RAIN, SUN} if lead == 0 else set()):
            result = of_lead(results[variable], lead)
            assert result.status is (status if variable in variables else SourceFileStatus.SUCCEEDED), result.reason
            assert result.succeeded or re.search(f"f00{lead}", str(result.reason)), result.reason
        assert any(re.search(reason, str(of_lead(results[variable], lead).reason)) for variable in variables), lead
    for variable in INSTANT:
        held = ds[variable].isel(init_time=0).notnull().all(["latitude", "longitude"]).to_numpy()
        assert [bool(there) for there in held] == [result.succeeded for result in results[variable]]
        assert_true(ds[variable].sel(init_time=INIT, lead_time=9 * HOUR), variable, INIT, 9)
    assert_true(ds[SUN].sel(init_time=INIT, lead_time=4 * HOUR), SUN, INIT, 4)


def test_a_file_of_another_grid_is_not_read(site: Site) -> None:
    site.arrive(INIT)
    for suffix in ("", ".idx"):
        Path(f"{site.file(BAD)}{suffix}").write_bytes(Path(f"{site.sample.odd}{suffix}").read_bytes())
    files = site.job().process()[TEMPERATURE]
    bad = of_lead(files, BAD)
    assert bad.status is SourceFileStatus.READ_FAILED
    assert "has shape (10, 18), template expects (19, 36)" in str(bad.reason)
    assert sum(file.succeeded for file in files) == 9


def cut_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_a_damaged_message_costs_its_own_variable_only(site: Site) -> None:
    """The last message is cut short; the ones before it are whole, each verified by itself."""
    site.arrive(INIT)
    cut_the_end(site.file(BAD))
    results = site.job().process()
    assert {name for name, files in results.items() if not of_lead(files, BAD).succeeded} == {SUN}
    assert "CorruptMessage: DSWRF:surface in" in str(of_lead(results[SUN], BAD).reason)


def forget_sunshine(site: Site) -> None:
    for lead in LEADS[1:]:
        rewrite_index(site.file(lead), lambda lines: [line for line in lines if "DSWRF" not in line[2]])


def test_a_variable_without_success_uploads_nothing(site: Site) -> None:
    site.arrive(INIT)
    forget_sunshine(site)
    results, ds = processed(site, site.job())
    assert {result.status for result in results[SUN]} == {SourceFileStatus.DOWNLOAD_FAILED}
    assert all("does not have DSWRF:surface:0-" in str(result.reason) for result in results[SUN][:6])
    assert not [key for key in chunk_keys(site) if key.startswith(SUN)]
    assert_forecast_true(ds, INIT, variables=[TEMPERATURE, WIND, RAIN])


def test_a_variable_the_source_does_not_have_yet_is_written_as_nan(site: Site) -> None:
    """No file is wanted, so none is missing; readers and checks find the shard."""

    class WithoutWind(GfsForecastRegionJob):
        def generate_source_file_coords(
            self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
        ) -> list[GfsSourceFileCoord]:
            return [] if data_vars[0].name == WIND else super().generate_source_file_coords(region_ds, data_vars)

        @classmethod
        def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
            return [(data_var,) for data_var in data_vars]

    site.arrive(INIT)
    without = site.having(region_job=WithoutWind)
    without.backfill()
    known = without.ledger()
    assert known is not None
    assert (known.variables[WIND].expected, known.variables[WIND].succeeded) == (0, 0)
    assert known.is_complete
    assert len([key for key in site.objects() if f"/{WIND}/c/" in key]) == 2
    assert site.read()[WIND].isnull().all()
    assert_forecast_true(site.read(), INIT, variables=[TEMPERATURE, RAIN, SUN])


def test_a_shard_made_from_a_file_that_fails_now_is_kept_unless_forced(site: Site) -> None:
    """However many other files there are by now: of rain another one was missing."""
    site.arrive(INIT)
    site.job().process()
    before = site.objects()
    site.remove(BAD)

    def made_from(expected: int, *missing: int) -> VariableCoverage:
        files = [MissingFile(file=gfs_key(INIT, lead), labels="", reason="late", label=INIT) for lead in missing]
        return VariableCoverage(
            expected=expected, succeeded=expected - len(missing), missing=tuple(files), through=INIT
        )

    full = {TEMPERATURE: made_from(10), WIND: made_from(10, BAD), RAIN: made_from(9, 4), SUN: made_from(9, BAD, 4)}

    job = site.job(coverage=lambda _, variable: full[variable])
    results = job.process()
    assert job.stats.kept == [RAIN, TEMPERATURE]
    assert {name for name, files in results.items() if not of_lead(files, BAD).succeeded} == set(VARIABLES)
    changed = {key.split(".zarr/")[1].split("/")[0] for key, data in site.objects().items() if before[key] != data}
    assert changed == {WIND, SUN}

    forced = site.job(coverage=lambda _, variable: full[variable], force=True)
    forced.process()
    assert forced.stats.kept == []
    changed = {key.split(".zarr/")[1].split("/")[0] for key, data in site.objects().items() if before[key] != data}
    assert changed == set(VARIABLES)


@pytest.mark.parametrize(("age", "asked"), [("5h", True), ("12h", True), ("13h", False)])
def test_the_second_archive_is_asked_while_it_keeps_files(site: Site, age: str, asked: bool) -> None:
    site.arrive(INIT)
    site.arrive(INIT, leads=[BAD, 4], archive=NOMADS)
    site.remove(BAD)
    cut_in_half(site.file(4))
    files = site.job(now=INIT + Timedelta(age), variables=[TEMPERATURE]).process()[TEMPERATURE]
    gone, cut = of_lead(files, BAD), of_lead(files, 4)
    assert (gone.succeeded, cut.succeeded) == (asked, asked)
    assert {file.archive for file in files if file not in (gone, cut)} == {PRIMARY}
    if asked:
        assert gone.archive == cut.archive == NOMADS
    else:
        assert "nomads" not in f"{gone.reason} {cut.reason}"


def test_every_archive_that_failed_is_named(site: Site) -> None:
    site.arrive(INIT, leads=[0])
    site.arrive(INIT, leads=[BAD], archive=NOMADS)
    cut_in_half(site.file(BAD, archive=NOMADS))
    reason = str(of_lead(site.job(variables=[TEMPERATURE]).process()[TEMPERATURE], BAD).reason)
    assert f"{PRIMARY}' is missing" in reason
    assert f"{NOMADS}/gfs.20260729" in reason
    assert "outside" in reason


def test_an_archive_that_refuses_does_not_lack_the_file(site: Site) -> None:
    site.arrive(INIT)
    with FaultServer({}) as server:
        server.script(f"{PRIMARY}/{gfs_key(INIT, BAD)}", Status(403))
        files = replace(site, settings={"upstream": server.url}).job(variables=[TEMPERATURE]).process()[TEMPERATURE]
    refused = of_lead(files, BAD)
    assert str(refused.reason).startswith("SourceFileUnavailable: ")
    assert "was refused (status 403)" in str(refused.reason)
    assert all(str(file.reason).startswith("SourceFileMissing: ") for file in files if file is not refused)


class Interrupting(GfsForecastRegionJob):
    """Stops wherever a test tells it to, in whatever thread that is."""

    at = ""

    def download_file(self, coord: GfsSourceFileCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        if self.at == "download" and coord.lead_time == BAD * HOUR:
            raise Stopped("download")
        return super().download_file(coord, data_vars, folder)

    def read_data(self, coord: GfsSourceFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        if self.at == "read" and coord.lead_time == BAD * HOUR:
            raise Stopped("read")
        return super().read_data(coord, data_var, downloaded)

    def apply_data_transformations(self, values: Float32Array, data_var: DataVar, region_ds: xr.Dataset) -> None:
        if self.at == "transform" and data_var.name == WIND:
            raise KeyboardInterrupt("transform")
        super().apply_data_transformations(values, data_var, region_ds)


@pytest.mark.parametrize("at", ["download", "read", "transform"])
def test_an_interrupt_leaves_no_tmp_files(site: Site, at: str) -> None:
    site.arrive(INIT)
    stopping = type("StoppingJob", (Interrupting,), {"at": at})
    with pytest.raises((Stopped, KeyboardInterrupt), match=at):
        site.having(region_job=stopping).job().process()
    assert list(site.tmp.iterdir()) == []


class Odd(GfsForecastRegionJob):
    """Meets with errors that nobody foresaw, in one file."""

    at, error = "", Exception()

    def download_file(self, coord: GfsSourceFileCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        if self.at == "download" and coord.lead_time == BAD * HOUR:
            raise self.error
        return super().download_file(coord, data_vars, folder)

    def read_data(self, coord: GfsSourceFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        if self.at == "read" and coord.lead_time == BAD * HOUR:
            raise self.error
        return super().read_data(coord, data_var, downloaded)


@pytest.mark.parametrize("at", ["download", "read"])
def test_an_error_nobody_expected_in_one_file_stops_no_other(
    site: Site, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.arrive(INIT)
    odd = type("OddJob", (Odd,), {"at": at, "error": ValueError("an odd file")})
    results = site.having(region_job=odd).job().process()
    for files in results.values():
        (failed,) = [file for file in files if not file.succeeded]
        assert failed.coord.out_loc()["lead_time"] == BAD * HOUR
        assert failed.reason == "ValueError: an odd file"
    (told,) = [record for record in caplog.records if "an error nobody expected" in record.message]  # once, not by file
    assert told.exc_info is not None


@pytest.mark.parametrize("at", ["download", "read"])
@pytest.mark.parametrize("error", [MemoryError("none left"), OSError(5, "Input/output error")])
def test_what_is_no_fault_of_a_file_ends_the_job(site: Site, at: str, error: Exception) -> None:
    site.arrive(INIT)
    odd = type("OddJob", (Odd,), {"at": at, "error": error})
    with pytest.raises(type(error), match=r"none left|Input/output"):
        site.having(region_job=odd).job().process()
    assert list(site.tmp.iterdir()) == []


@pytest.mark.parametrize("successes", [0, 3, 7])
def test_a_store_that_fails_ends_the_job_and_leaves_no_tmp_files(site: Site, successes: int) -> None:
    puts: list[str] = []

    def fail(url: str, key: str) -> None:
        if len(puts) == successes:
            raise StoreUnavailable(f"{url}/{key}: put failed")
        puts.append(key)

    site.arrive(INIT)
    with pytest.raises(StoreUnavailable, match="put failed"):
        replace(site, before_put=fail).job().process()
    assert list(site.tmp.iterdir()) == []


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
        **{f"upload {name}": [(1, 1)] for name in VARIABLES},
    }
    assert job.stats.objects_out == 8
    assert job.stats.bytes_out == sum(size for _, size in site.stores.primary.list())
    assert job.stats.bytes_in == sum(file.bytes for files in results.values() for file in files)
    assert set(job.stats.seconds) == {"download", "read", "transform", "write", "upload"}
    assert type(job.stats).from_json(job.stats.to_json()) == job.stats


def test_shards_made_one_by_one_are_as_if_made_at_once(analysis: Site) -> None:
    """The hour before a shard is read along, so that a rate at its first hour is right; what comes of it is left out."""
    times = pd.date_range(INIT, periods=18, freq="1h", unit="us")
    create_store(analysis.dataset.template_config, analysis.workspace, times[-1] + MOMENT)
    for job in reversed(jobs_of(analysis, times[-1])):
        results = job.process()
        assert [file.coord.out_loc()["time"] for file in results[RAIN]] == list(times[job.region])
        assert statuses(results) == ALL_SUCCEEDED
    ds = analysis.read()
    for variable, hour in product(VARIABLES, times):
        init = hour.floor("6h") if variable in INSTANT else hour.ceil("6h") - 6 * HOUR
        if variable != RAIN or hour != INIT:
            assert_true(ds[variable].sel(time=hour), variable, init, (hour - init) // HOUR)
    assert ds[RAIN].sel(time=INIT).isnull().all()


def jobs_of(site: Site, last: Timestamp = THIRD, **filters: Any) -> list[RegionJob[Any]]:
    """Jobs over labels up to the last one."""
    template_ds = site.dataset.template_config.get_template(last + MOMENT)
    context = site.dataset.context(site.workspace, THIRD + SOON)
    return list(site.dataset.region_job.get_jobs(context, template_ds, **filters))


def gist(jobs: Sequence[RegionJob[Any]]) -> list[tuple[Timestamp, tuple[str, ...]]]:
    """First label and variables of each job."""
    return [(job.label, tuple(data_var.name for data_var in job.data_vars)) for job in jobs]


INITS = (INIT, SECOND, THIRD)


@pytest.mark.parametrize(
    ("filters", "inits"),
    [
        ({}, INITS),
        ({"start": SECOND}, (SECOND, THIRD)),
        ({"start": SECOND + HOUR}, (THIRD,)),
        ({"start": THIRD + MOMENT}, ()),
        ({"end": SECOND}, (INIT,)),
        ({"end": INIT}, ()),
        ({"end": THIRD + 100 * HOUR}, INITS),
        ({"start": SECOND, "end": THIRD}, (SECOND,)),
        ({"start": THIRD, "end": SECOND}, ()),
        ({"contains": [THIRD, INIT, THIRD]}, (INIT, THIRD)),
        ({"contains": [SECOND + HOUR]}, ()),
        ({"contains": []}, ()),
        ({"contains": [INIT, SECOND], "start": SECOND}, (SECOND,)),
    ],
)
def test_time_filters_intersect(site: Site, filters: dict[str, Any], inits: tuple[Timestamp, ...]) -> None:
    assert gist(jobs_of(site, **filters)) == [(init, IN_ORDER) for init in inits]


def test_whole_shards_are_kept(analysis: Site) -> None:
    jobs = jobs_of(analysis, start=SECOND - HOUR, end=SECOND + HOUR)
    assert [job.region for job in jobs] == [slice(0, 6), slice(6, 12)]


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        (None, [IN_ORDER]),
        (4, [tuple(sorted(WINDOWED)), tuple(sorted(INSTANT))]),
        (1, [(SUN,), (RAIN,), (TEMPERATURE,), (WIND,)]),
    ],
)
def test_variables_of_one_file_stay_together_up_to_the_limit(
    site: Site, size: int | None, batches: list[tuple[str, ...]]
) -> None:
    assert gist(jobs_of(site, max_vars_per_job=size)) == [(init, batch) for init in INITS for batch in batches]


def test_variables_are_chosen_by_name(site: Site) -> None:
    assert gist(jobs_of(site, variables=[WIND, RAIN], start=THIRD)) == [(THIRD, (RAIN, WIND))]
    assert jobs_of(site, variables=[]) == []
    with pytest.raises(
        UnknownVariable, match=r"\['snow'\] were asked for; test-gfs-forecast has .*temperature_2m, wind_u_10m"
    ):
        jobs_of(site, variables=["snow", WIND])


@pytest.mark.parametrize(
    ("reached", "policy", "labels"),
    [
        ({TEMPERATURE: THIRD, RAIN: SECOND}, "any", 3),
        ({TEMPERATURE: THIRD, RAIN: SECOND}, "all", 2),
        ({TEMPERATURE: THIRD, RAIN: None}, "any", 3),
        ({TEMPERATURE: THIRD, RAIN: None}, "all", 0),
        ({TEMPERATURE: None, RAIN: None}, "any", 0),
    ],
)
def test_the_template_ends_where_results_end(
    site: Site, reached: dict[str, Timestamp | None], policy: str, labels: int
) -> None:
    template = site.dataset.template_config
    job = replace(site.job(publish_policy=policy), template_ds=template.get_template(THIRD + MOMENT))

    def files(newest: Timestamp | None) -> list[FileResult]:
        return [
            FileResult(coord=GfsSourceFileCoord(init_time=init, lead_time=HOUR)).advance(
                SourceFileStatus.SUCCEEDED if newest is not None and init <= newest else SourceFileStatus.READ_FAILED
            )
            for init in INITS
        ]

    cut = job.update_template_with_results({name: files(newest) for name, newest in reached.items()})
    assert list(cut.indexes["init_time"]) == list(INITS[:labels])


@pytest.mark.parametrize(("age", "level"), [("95h", "INFO"), ("96h", "WARNING")])
def test_a_line_per_stage_warns_of_what_the_archive_lacks(
    site: Site, caplog: pytest.LogCaptureFixture, age: str, level: str
) -> None:
    site.arrive(INIT)
    site.remove(BAD)
    with caplog.at_level("INFO", "reformatters_dagster.core.job"):
        site.job(variables=[TEMPERATURE], now=INIT + Timedelta(age)).process()
    told = [(record.levelname, record.message) for record in caplog.records]
    downloaded, read, uploaded = (message for _, message in told)
    assert re.fullmatch(rf"region=.* variables={TEMPERATURE} files=10 missing=1 bytes=\d+ seconds=\d+\.\d", downloaded)
    assert re.fullmatch(rf"region=.* variable={TEMPERATURE} files=10 missing=1 seconds=\d+\.\d", read)
    assert re.fullmatch(rf"region=.* variable={TEMPERATURE} objects=2 bytes=\d+ seconds=\d+\.\d", uploaded)
    assert [level for level, _ in told] == [level, level, "INFO"]


def test_what_became_of_a_file_is_said_once(site: Site) -> None:
    done = FileResult(coord=GfsSourceFileCoord(init_time=INIT, lead_time=HOUR)).advance(SourceFileStatus.SUCCEEDED)
    with pytest.raises(ValueError, match=f"{gfs_key(INIT, 1)} is Succeeded and cannot become ReadFailed"):
        done.advance(SourceFileStatus.READ_FAILED, "afterwards")


def test_a_file_older_than_what_any_archive_keeps_is_said_to_be(site: Site) -> None:
    kept = tuple(archive.model_copy(update={"newest": 2 * HOUR}) for archive in site.dataset.archives)
    site.arrive(INIT)
    (failed, *_) = site.having(archives=kept).job(now=INIT + 3 * HOUR).process()[TEMPERATURE]
    assert failed.reason is not None
    assert failed.reason.endswith(f"no archive keeps files of {INIT} any more")


def backfill_slowly(folder: str) -> None:
    """What the process does that is killed: it says each key it puts, and takes its time."""

    def terminate(*_: object) -> None:
        raise SystemExit(143)

    def slow_put(url: str, key: str) -> None:
        print(key, flush=True)  # noqa: T201 the parent reads it
        time.sleep(0.3 if "/c/0/0" in key else 0)

    signal.signal(signal.SIGTERM, terminate)
    site = Site(Path(folder), gfs_forecast(Path(folder) / "templates"), Sample(Path(), Path()), before_put=slow_put)
    site.backfill()


@pytest.fixture
def slow_backfill(site: Site) -> Iterator[subprocess.Popen[str]]:
    site.arrive(INIT)
    code = f"from tests.core.job.test_region_job import backfill_slowly; backfill_slowly({str(site.folder)!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield process
        process.kill()


def test_a_terminated_process_leaves_no_tmp_files_and_a_store_that_opens(
    site: Site, slow_backfill: subprocess.Popen[str]
) -> None:
    assert slow_backfill.stdout is not None
    seen = next(key for key in slow_backfill.stdout if key.startswith(f"{RAIN}/c/"))
    assert list(site.tmp.iterdir()), seen
    slow_backfill.send_signal(signal.SIGTERM)
    assert slow_backfill.wait(30) == 143
    assert list(site.tmp.iterdir()) == []
    ds = open_as_reader(site.stores.primary.url)
    assert_true(ds[SUN].isel(init_time=0, lead_time=1), SUN, INIT, 1)
    assert ds[WIND].isnull().all()
    assert site.ledger() is None
    site.backfill(overwrite_chunks=True)
    assert_forecast_true(site.read(), INIT)
