"""The demo: what it leaves alone when it begins anew, what it says of its data, and two cycles of it in one folder."""

from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.demo import LEAD_HOURS, open_demo, picture_title, run_demo
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.sample_upstream import DEMO_VARIABLES, write_sample_upstream

NOW = Timestamp("2026-07-29T23")
CYCLE = pd.Timedelta("6h")
STORE, INTERNAL = "stores/noaa-gfs-forecast/v0.1.0.zarr", "stores/noaa-gfs-forecast/_internal/v0.1.0"


def files_of(folder: Path) -> dict[str, str]:
    """Contents of a folder that holds text only, by relative path; empty folders with a slash."""
    empty = {
        f"{path.relative_to(folder)}/": "" for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())
    }
    return empty | {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("kept as it is")


def test_a_later_cycle_begins_anew_beside_what_a_user_made(tmp_path: Path) -> None:
    said: list[str] = []
    first = open_demo(tmp_path, NOW, said.append)
    names = [f"{path.relative_to(tmp_path)}" for path in first.sample_files(first.first)]
    both = [f"{path.relative_to(tmp_path)}" for path in first.sample_files(first.second)]
    users = (
        "stores/noaa-gfs-analysis/v0.1.0.zarr/zarr.json",
        "stores/noaa-gfs-forecast/v0.0.9.zarr/zarr.json",
        "upstream/noaa-gfs-bdp-pds/gfs.20260729/06/atmos/gfs.t06z.pgrb2.0p25.f009",
        "upstream/opendata.dwd.de/file",
        "dagster/history/runs.db",
        "notes",
    )
    write(tmp_path, *names, *both, *users, f"{STORE}/zarr.json", f"{STORE}/init_time/c/0", f"{INTERNAL}/ledger")
    (tmp_path / "dagster/dagster.yaml").write_text("changed")
    before = files_of(tmp_path)

    assert open_demo(tmp_path, NOW + pd.Timedelta("1min"), said.append) == first
    assert (files_of(tmp_path), said) == (before, [])

    def say(line: str) -> None:
        assert files_of(tmp_path) == before
        said.append(line)

    second = open_demo(tmp_path, NOW + CYCLE, say)
    assert (second.first, second.second) == (first.second, first.second + CYCLE)
    after = files_of(tmp_path)
    gone = {*names, f"{STORE}/zarr.json", f"{STORE}/init_time/c/0", f"{INTERNAL}/ledger"}
    emptied = {"stores/noaa-gfs-forecast/_internal/"}
    assert after.keys() == (before.keys() - gone) | emptied
    assert {name for name in after.keys() - emptied if after[name] != before[name]} == {"env", "first_init_time"}
    assert "REFORMATTERS_START=2026-07-29T18\n" not in before["env"]
    assert said == [
        f"The demo in {tmp_path} is of another cycle, {first.second}, and begins anew: its noaa-gfs-forecast store and its "
        f"sample files of {first.first} are deleted; everything else there stays"
    ]


def test_init_times_long_gone_leave_no_empty_folders(tmp_path: Path) -> None:
    first = open_demo(tmp_path, NOW, lambda line: None)
    write(tmp_path, *(str(path) for init_time in first.init_times for path in first.sample_files(init_time)))
    said: list[str] = []
    open_demo(tmp_path, NOW + 30 * CYCLE, said.append)
    assert f"sample files of {first.first} and {first.second} are deleted" in said[0]
    assert list((tmp_path / "upstream").rglob("*")) == []


def test_sample_files_are_those_that_are_written(tmp_path: Path) -> None:
    first = open_demo(tmp_path, NOW, lambda line: None)
    write_sample_upstream(first.upstream, [first.first], LEAD_HOURS, step=15)
    assert {path for path in first.upstream.rglob("*") if path.is_file()} == set(first.sample_files(first.first))


def test_folders_that_are_no_demo_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "first_init_time")
    with pytest.raises(
        ReformatError, match="first_init_time was to hold an init time; it holds 'kept as it is': give an"
    ):
        open_demo(tmp_path, NOW, pytest.fail)
    (tmp_path / "first_init_time").rename(tmp_path / "letter")
    with pytest.raises(ReformatError, match="it holds other files: give an empty --folder"):
        open_demo(tmp_path, NOW, pytest.fail)
    assert files_of(tmp_path) == {"letter": "kept as it is"}


def test_the_picture_is_titled_as_sample_data() -> None:
    ds = xr.Dataset(coords={"init_time": Timestamp("2026-07-29")}, attrs={"name": "NOAA GFS forecast"})
    assert picture_title(ds, 6) == (
        "SAMPLE DATA: NOAA GFS forecast, init 2026-07-29 00:00 UTC, +6 h, valid Wed 2026-07-29 06:00 UTC"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
def test_two_cycles_in_one_folder(tmp_path: Path) -> None:
    for now in (utc_now() - CYCLE, utc_now()):
        said: list[str] = []
        assert run_demo(tmp_path, now, said.append) == 0
        told = "\n".join(said)
        second = (now - DATASET.soft_deadline).floor(CYCLE)
        assert said[-1].endswith("the sensors of the other datasets find no files there")
        assert f"launches noaa_gfs_forecast__update for partition {second:%Y-%m-%dT%H:%M}" in told
        for place in ("Store", "Picture"):
            assert f"{place} (SAMPLE DATA): {tmp_path}" in told
        template = DATASET.template_config
        leads = next(dim for dim in template.dims if dim.name == "lead_time")
        sample = (
            f"{len(DEMO_VARIABLES)} of {len(template.variables)} variables and {len(LEAD_HOURS)} of {len(leads.labels)}"
        )
        assert f"(some are expected to fail here: the sample has {sample} lead times)" in told
        ds = xr.open_zarr(tmp_path / STORE, chunks=None, decode_timedelta=True)
        assert list(ds.indexes["init_time"]) == [second - CYCLE, second]
        assert (tmp_path / "forecast.png").stat().st_size > 10_000
    assert said[0].endswith("everything else there stays")
