"""The demo: what it leaves alone when it begins anew, what it says of its data, and two cycles of it in one folder."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from dataset_defs.contrib.demo import DATASET as RADAR
from dataset_defs.ecmwf.ifs_ens import demo as ensemble
from dataset_defs.ecmwf.ifs_ens.demo import DATASET as ENSEMBLE
from dataset_defs.noaa.gfs.demo import DATASET, VARIABLES
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.demo.folder import DATASETS, ENSEMBLE_LEAD_HOURS, LATE_HOUR, LEAD_HOURS, Demo, open_demo
from reformatters_dagster.demo.picture import picture_title
from reformatters_dagster.demo.running import run_demo
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.sample_upstream import DEMO_VARIABLES, write_sample_upstream
from reformatters_dagster.sample_upstream.ecmwf import ifs_values

NOW = Timestamp("2026-07-29T23")
CYCLE = pd.Timedelta("6h")
STORE, INTERNAL = "stores/noaa-gfs-demo/v0.1.0.zarr", "stores/noaa-gfs-demo/_internal/v0.1.0"
RADAR_STORE, ENSEMBLE_STORE = (f"stores/{dataset.dataset_id}/v0.1.0.zarr" for dataset in (RADAR, ENSEMBLE))


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
        "stores/noaa-gfs-forecast/v0.1.0.zarr/zarr.json",
        "stores/noaa-gfs-demo/v0.0.9.zarr/zarr.json",
        "upstream/noaa-gfs-bdp-pds/gfs.20260729/06/atmos/gfs.t06z.pgrb2.0p25.f013",
        "upstream/opendata.dwd.de/file",
        "dagster/history/runs.db",
        "notes",
    )
    radar = [f"{path.relative_to(tmp_path)}" for path in first.radar_files()]
    ensemble_files = [f"{path.relative_to(tmp_path)}" for path in first.ensemble_files()]
    stores = (
        f"{ENSEMBLE_STORE}/zarr.json",
        f"{RADAR_STORE}/zarr.json",
        f"{STORE}/zarr.json",
        f"{STORE}/init_time/c/0",
        f"{INTERNAL}/ledger",
    )
    write(tmp_path, *names, *both, *users, *radar, *ensemble_files, *stores)
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
    gone = {*names, *stores}
    emptied = {"stores/noaa-gfs-demo/_internal/", *(f"stores/{one.dataset_id}/" for one in (ENSEMBLE, RADAR))}
    assert after.keys() == (before.keys() - gone) | emptied
    assert {name for name in after.keys() - emptied if after[name] != before[name]} == {"env", "first_init_time"}
    assert "REFORMATTERS_START=2026-07-29T18\n" not in before["env"]
    assert said == [
        f"The demo in {tmp_path} is of another cycle, {first.second}, and begins anew: its stores of "
        f"noaa-gfs-demo, {ENSEMBLE.dataset_id}, {RADAR.dataset_id} and its sample files of {first.first} are "
        "deleted; everything else there stays"
    ]


def test_init_times_long_gone_leave_no_empty_folders(tmp_path: Path) -> None:
    first = open_demo(tmp_path, NOW, lambda line: None)
    write(tmp_path, *(str(path) for init_time in first.init_times for path in first.sample_files(init_time)))
    write(tmp_path, *map(str, (*first.radar_files(), *first.ensemble_files())))
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
    for name in ("NOAA GFS forecast", "SAMPLE DATA: NOAA GFS forecast"):
        ds = xr.Dataset(coords={"init_time": Timestamp("2026-07-29")}, attrs={"name": name})
        assert picture_title(ds, 6) == (
            "SAMPLE DATA: NOAA GFS forecast, init 2026-07-29 00:00 UTC, +6 h, valid Wed 2026-07-29 06:00 UTC"
        )


def test_the_sample_has_every_variable_and_lead_time_of_its_dataset() -> None:
    (leads,) = DATASET.template_config.dims
    assert [label / 3600 for label in leads.labels] == list(LEAD_HOURS)
    assert set(DATASET.template_config.variables) == VARIABLES == set(DEMO_VARIABLES)
    leads, members = ENSEMBLE.template_config.dims
    assert [label / 3600 for label in leads.labels] == list(ENSEMBLE_LEAD_HOURS)
    assert list(members.labels) == list(ensemble.MEMBERS)
    assert set(ENSEMBLE.template_config.variables) == ensemble.VARIABLES


def test_the_ensemble_of_the_demo_is_the_one_that_is_due_at_any_hour(tmp_path: Path) -> None:
    for hour in range(24):
        now = Timestamp("2026-07-29") + pd.Timedelta(hours=hour)
        demo = open_demo(tmp_path / str(hour), now, pytest.fail)
        due = (now - ensemble.AGE).floor("1D")
        assert due <= demo.ensemble_init < now, now
        assert demo.ensemble_init == ENSEMBLE.started_by(demo.settings).template_config.append_dim.start


def completeness(said: list[str]) -> list[set[str]]:
    """The characters of every variable, each time the demo showed them."""
    shown, maps = [line.split() for line in said], []
    for at, words in enumerate(shown):
        if words[0] == "Completeness":
            maps.append({line[1] for line in shown[at + 1 : at + 1 + len(VARIABLES)] if line[0] in VARIABLES})
    return maps


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
def test_two_cycles_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for now in (utc_now() - CYCLE, utc_now()):
        said: list[str] = []
        assert run_demo(tmp_path, now, said.append) == 0
        told = "\n".join(said)
        demo = open_demo(tmp_path, now, pytest.fail)
        assert f"launches noaa_gfs_demo__update for partition {demo.second:%Y-%m-%dT%H:%M}" in told
        assert f"launches noaa_gfs_demo__backfill for partition {demo.second:%Y-%m-%dT%H:%M}" in told
        whole, holed = "#" * len(LEAD_HOURS), "#" * LATE_HOUR + "." + "#" * (len(LEAD_HOURS) - LATE_HOUR - 1)
        assert completeness(said) == [{holed}, {whole}]
        for place in ("Store", "Picture"):
            assert f"{place} (SAMPLE DATA): {tmp_path}" in told
        ds = xr.open_zarr(tmp_path / STORE, chunks=None, decode_timedelta=True)
        assert list(ds.indexes["init_time"]) == demo.init_times
        assert ds["temperature_2m"].notnull().all()
        members = xr.open_zarr(tmp_path / ENSEMBLE_STORE, chunks=None, decode_timedelta=True)["temperature_2m"]
        true = [ifs_values("temperature_2m", demo.ensemble_init, 6, member, 1.0) for member in ensemble.MEMBERS]
        np.testing.assert_allclose(members.sel(init_time=demo.ensemble_init, lead_time="6h") + 273.15, true, atol=0.3)
        radar = xr.open_zarr(tmp_path / RADAR_STORE, chunks=None)
        assert list(radar.indexes["time"]) == demo.radar_hours
        assert (tmp_path / "forecast.png").stat().st_size > 10_000
    assert_validators_end_well(said)
    assert said[0].endswith("everything else there stays")
    again: list[str] = []
    assert run_demo(tmp_path, now, again.append) == 0
    assert completeness(again) == []
    assert [line for line in again if line.startswith("Validators")] == [
        "Validators: 12 of 12 pass",
        "Validators: 12 of 12 pass",
        "Validators: 11 of 11 pass",
    ]
    assert_next_steps_are_true(demo, again, monkeypatch)


def assert_validators_end_well(said: list[str]) -> None:
    """They fail for the hole alone, and pass once it has healed."""
    failed = [line.split()[1] for line in said if line.startswith("  FAILED")]
    assert failed == ["recent_nans:", "complete_partitions:"]
    assert [line for line in said if line.startswith("Validators")] == [
        "Validators: 10 of 12 pass",
        "Validators: 12 of 12 pass",
        "Validators: 12 of 12 pass",
        "Validators: 11 of 11 pass",
    ]


def assert_next_steps_are_true(demo: Demo, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`dg dev` of the printed workspace has the demo's datasets, and each of its sensors can be asked."""
    assert f". {demo.folder}/env && uv run dg dev -w {demo.workspace}" in said[-2]
    for name, value in demo.environment.items():
        assert f"export {name}={value}\n" in (demo.folder / "env").read_text()
        monkeypatch.setitem(os.environ, name, value)
    sensors: dict[str, str | None] = {}
    with (
        DagsterInstance.from_config(demo.environment["DAGSTER_HOME"]) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(demo.workspace)])) as process,
    ):
        workspace = process.create_request_context()
        assert {name: entry.load_error for name, entry in workspace.get_code_location_entries().items()} == {
            "noaa": None,
            "ecmwf": None,
            "contrib": None,
        }
        for location in workspace.code_locations:
            for repository in location.get_repositories().values():
                for sensor in repository.get_sensors():
                    asked = location.get_sensor_execution_data(
                        instance, repository.handle, sensor.name, None, None, None, None, None
                    )
                    sensors[sensor.name] = asked.skip_message
    of_datasets = {dataset.job_name(kind) for dataset in DATASETS for kind in ("upstream", "heal")}
    assert set(sensors) == of_datasets | {f"{provider}__overview" for provider in ("noaa", "ecmwf", "contrib")}
    assert sensors[DATASET.job_name("heal")] == "nothing to do"
