"""A dataset's asset, run by Dagster: real values in the store, what a run shows, what it refuses, and how it ends early."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from reformatters_dagster.core.run.accounting import template_hash
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.spec.errors import NothingSucceeded
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.store.reading import open_published
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.assets import PartitionConfig, build_asset
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.materialization import LONGEST_REASON, WHY_KEPT
from tests.datasets import (
    INIT,
    INSTANT,
    LEADS,
    PRIMARY,
    RAIN,
    SECOND,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    WINDOWED,
    Sample,
    Site,
    assert_forecast_true,
    gfs_forecast,
    gfs_key,
    objects_of,
)
from tests.orchestration.deployments import QUIET, Deployment, metadata_of, rows_of, step_outputs
from tests.stores import S3Bucket
from tests.upstreams import FaultServer, Slow

pytest_plugins = ["tests.datasets", "tests.stores"]

ROOT = Path(__file__).parents[2]
REAL = "gfs/FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2"
REAL_INDEX = "1:0:d=2026072918:TMP:2 m above ground:anl:\n"
MANTISSA_BITS = 7


@dataclass(frozen=True)
class RealRun:
    """One partition made from a real message, by Dagster and by hand."""

    metadata: dict[str, Any]
    settings: Settings
    by_hand: Settings
    ds: xr.Dataset


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    folder = tmp_path_factory.mktemp("real")
    mirrored = folder / "upstream" / PRIMARY / "gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f000"
    mirrored.parent.mkdir(parents=True)
    shutil.copyfile(shared_data / REAL, mirrored)
    mirrored.with_name(f"{mirrored.name}.idx").write_text(REAL_INDEX)
    places = {"upstream": str(folder / "upstream"), "tmp": str(folder / "tmp")}
    settings, by_hand = (Settings(store=str(folder / name), start=INIT, **places) for name in ("dagster", "by-hand"))
    dataset = GFS.started_by(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [build_asset(dataset, settings)],
            partition_key=partition_key(INIT),
            instance=instance,
            resources=build_definitions([GFS], settings).resources,
            run_config=QUIET | {"ops": {"noaa__gfs_forecast": {"config": {"variables": [TEMPERATURE]}}}},
        )
        (event,) = result.asset_materializations_for_node("noaa__gfs_forecast")
    request = BackfillRequest(start=INIT, end="2026-07-30", variables=(TEMPERATURE,))
    backfill(dataset, dataset.workspace(by_hand), request, run_id="by-hand", now=INIT + pd.Timedelta("5h"))
    opened: xr.Dataset = xr.open_zarr(
        settings.stores(dataset.template_config).primary.url, chunks=None, decode_timedelta=True
    )
    return RealRun(metadata_of(event), settings, by_hand, opened)


# A real message


def rounding(celsius: float) -> float:
    """How far off a value may be for the mantissa bits that are kept, and for float32 kelvins."""
    return abs(celsius) * 2.0 ** -(MANTISSA_BITS + 1) + 3e-5


def test_the_store_holds_the_values_another_decoder_found(real: RealRun, shared_data: Path) -> None:
    (expected,) = json.loads((shared_data / f"{REAL}.expected.json").read_text())["messages"]
    field = real.ds[TEMPERATURE].sel(init_time=INIT, lead_time="0h").load()
    assert field.shape == (expected["Ny"], expected["Nx"])
    for point in expected["points"]:
        celsius = point["value"] - 273.15
        found = float(field.sel(latitude=point["lat"], longitude=(point["lon"] + 180) % 360 - 180))
        assert found == pytest.approx(celsius, abs=rounding(celsius)), point
    for statistic in ("min", "max", "mean"):
        celsius = expected[statistic] - 273.15
        assert float(getattr(field.astype(float), statistic)()) == pytest.approx(celsius, abs=rounding(celsius))
    assert int(field.isnull().sum()) == expected["n_missing"] == 0


def test_what_no_file_gave_is_nan_and_other_variables_are_not_there(real: RealRun) -> None:
    later = real.ds[TEMPERATURE].sel(init_time=INIT, lead_time=["1h", "384h"])
    assert bool(later.isnull().all())
    primary = real.settings.stores(GFS.template_config).primary
    written = {key.split("/")[0] for key, _ in primary.list() if "/c" in key}
    assert written & set(real.ds.data_vars) == {TEMPERATURE}


def test_the_command_line_s_backfill_writes_the_same_bytes(real: RealRun) -> None:
    by_dagster, by_hand = (
        objects_of(Path(settings.stores(GFS.template_config).primary.url) / TEMPERATURE / "c")
        for settings in (real.settings, real.by_hand)
    )
    assert by_dagster.keys() == {"0/0/0/0", "0/0/0/1"}
    assert by_dagster == by_hand


def test_a_materialization_says_what_was_there_and_what_it_cost(real: RealRun, shared_data: Path) -> None:
    shown = real.metadata
    shards = objects_of(Path(shown["store"]) / TEMPERATURE / "c")
    assert (shown["fields_expected"], shown["fields_succeeded"], shown["fields_missing"]) == (209, 1, 208)
    assert shown["bytes_in"] == (shared_data / REAL).stat().st_size
    assert (shown["objects_out"], shown["bytes_out"]) == (len(shards), sum(map(len, shards.values())))
    assert shown["published"] is True
    assert shown["labels_in_store"] == real.ds.sizes["init_time"]
    for stage in ("download", "read", "transform", "write", "upload"):
        assert 0 < shown[f"seconds_{stage}"] < 300, stage


def test_completeness_is_a_table_by_variable_and_the_reasons(real: RealRun) -> None:
    _, table, reasons = real.metadata["completeness"].split("\n\n")
    rows = rows_of(table)
    assert list(rows) == ["variable", TEMPERATURE]
    assert rows[TEMPERATURE] == ["209", "1", "208", "0"]
    (reason,) = reasons.splitlines()
    assert reason.startswith(f"- {TEMPERATURE}: SourceFileMissing")
    assert "pgrb2.0p25.f001" in reason
    assert len(reason) <= len(f"- {TEMPERATURE}: ") + LONGEST_REASON + 1


def test_the_completeness_of_the_newest_partitions_is_a_picture(real: RealRun) -> None:
    heat_map = real.metadata["completeness"].partition("\n\n")[0]
    title, _, image = heat_map.removeprefix("![").partition("](data:image/png;base64,")
    assert title == "completeness of the newest partitions"
    assert b64decode(image.removesuffix(")"), validate=True).startswith(b"\x89PNG")


def test_a_map_of_what_was_written_is_part_of_the_materialization(real: RealRun) -> None:
    title, _, image = real.metadata["map"].removeprefix("![").partition("](data:image/png;base64,")
    assert title == "temperature_2m, init 2026-07-29 18:00 UTC, +0 h, valid Wed 2026-07-29 18:00 UTC"
    png = b64decode(image.removesuffix(")"), validate=True)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < 100_000, "the picture is kept with the run, for good"


# Run config


def test_the_launchpad_explains_every_field() -> None:
    fields = PartitionConfig.to_config_schema().as_field().config_type.fields  # type: ignore[attr-defined]
    defaults = {name: field.default_value for name, field in fields.items()}
    assert defaults == {
        "variables": [],
        "publish": None,
        "overwrite_chunks": True,
        "keep_published": False,
        "force": False,
        "accept_missing": False,
    }
    assert all(field.description for field in fields.values())


@pytest.mark.parametrize(
    ("kind", "said", "publishes"),
    [("update", {}, True), ("backfill", {}, False), ("update", {"publish": False}, False)],
)
def test_a_config_that_does_not_say_so_publishes_in_an_update_alone(
    deployment: Deployment, kind: str, said: dict[str, bool], publishes: bool
) -> None:
    """As launched from the launchpad, whose defaults are not those of the job."""
    deployment.site.arrive(INIT, SECOND)
    deployment.run("initialise", end=str(SECOND))
    config = deployment.config(kind)
    config["ops"][deployment.key.to_python_identifier()]["config"] = said
    launch = partial(
        deployment.job(kind).execute_in_process, config, deployment.instance, partition_key=partition_key(SECOND)
    )
    if publishes:
        launch()
    else:
        with pytest.raises(dg.Failure, match="BeyondExtent"):
            launch()
    assert deployment.site.read().sizes["init_time"] == 1 + publishes


def test_a_misspelt_field_never_reaches_the_run(deployment: Deployment) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="variabels"):
        deployment.run("backfill", INIT, variabels=[TEMPERATURE])
    assert deployment.site.objects() == {}


# Refusals


def no_store(deployment: Deployment) -> None:
    """Nothing stands yet."""


def store_of_one_label(deployment: Deployment) -> None:
    deployment.run("initialise", end=str(SECOND))


def written_once(deployment: Deployment) -> None:
    deployment.site.arrive(INIT, leads=[0])
    store_of_one_label(deployment)
    deployment.site.backfill(overwrite_chunks=True, contains=(INIT,))


def store_of_another_start(deployment: Deployment) -> None:
    earlier = deployment.site.dataset.template_config.started_at(INIT - pd.Timedelta("6h"))
    replace(deployment, site=deployment.site.having(template_config=earlier)).run("initialise", end=str(SECOND))


def no_upstream(deployment: Deployment) -> None:
    shutil.rmtree(deployment.site.upstream)


@pytest.mark.parametrize(
    ("prepare", "kind", "label", "config", "error", "words"),
    [
        (no_store, "backfill", INIT, {"variables": ["snow"]}, "UnknownVariable", ["'snow'", "has", TEMPERATURE]),
        (store_of_one_label, "backfill", THIRD, {}, "BeyondExtent", ["2026-07-30T06:00", "test_gfs_forecast__initialise"]),
        (store_of_one_label, "update", THIRD, {}, "PublishGap", ["2026-07-30T06:00", "before 2026-07-30T00:00", "a hole"]),
        (no_store, "update", SECOND, {}, "PublishGap", ["2026-07-30T00:00", "update that partition first"]),
        (written_once, "backfill", INIT, {"overwrite_chunks": False}, "StoreExists", ["2026-07-29T18:00", "overwrite_chunks"]),
        (store_of_another_start, "backfill", INIT, {}, "TemplateDrift", ["2026-07-29T12:00", "2026-07-29T18:00"]),
        (no_upstream, "backfill", INIT, {}, "UpstreamMissing", ["upstream"]),
    ],
    ids=["unknown variable", "too short", "gap", "gap in nothing", "written before", "other start", "no upstream"],
)  # fmt: skip
def test_a_refused_partition_says_why_and_is_not_tried_again(
    deployment: Deployment, prepare: Any, kind: str, label: pd.Timestamp, config: Any, error: str, words: list[str]
) -> None:
    prepare(deployment)
    before = deployment.site.objects()
    op, said = deployment.refused(kind, label, **config)
    assert op == "test_gfs_forecast__plan"
    assert said.startswith(f"{error}: ")
    for word in words:
        assert word in said
    assert deployment.site.objects() == before
    assert deployment.materializations() == []


def test_a_partition_of_the_future_does_not_exist_and_is_refused_where_dagster_does_not_look(
    deployment: Deployment,
) -> None:
    with pytest.raises(dg.DagsterUnknownPartitionError, match="2099-01-01T00:00"):
        deployment.run("backfill", pd.Timestamp("2099-01-01T00"))
    _, said = deployment.refused("backfill", tags={"dagster/partition": "2099-01-01T00:00"})
    assert said.startswith("TimeNotOnGrid: partition 2099-01-01T00:00")
    assert "nothing of it can exist yet" in said


def test_a_partition_that_no_shard_begins_with_is_refused(deployment: Deployment) -> None:
    _, said = deployment.refused("backfill", tags={"dagster/partition": "2026-07-29T19:00"})
    assert said.startswith("TimeNotOnGrid: ")
    assert "lies in partition 2026-07-29T18:00" in said


def test_a_partition_of_which_nothing_is_there_fails_and_publishes_nothing(deployment: Deployment) -> None:
    with pytest.raises(Exception, match="none succeeded, nothing was published"):
        deployment.run("update", INIT)
    op, said = deployment.last_failure()
    assert op == "test_gfs_forecast__commit"
    assert "NothingSucceeded" in said
    assert not deployment.site.stores.primary.exists("zarr.json")
    assert deployment.materializations() == []


# Two modes


def test_a_backfill_creates_the_store_up_to_now_and_an_update_grows_it(deployment: Deployment) -> None:
    site = deployment.site
    site.arrive(INIT, SECOND)
    site.remove(9, init_time=SECOND)
    deployment.run("initialise", end=str(SECOND))
    deployment.run("backfill", INIT)
    assert site.read().sizes["init_time"] == 1
    deployment.run("update", SECOND)
    ds = site.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    assert_forecast_true(ds, INIT)
    complete = [int(one / np.timedelta64(1, "h")) for one in ds["ingested_forecast_length"].values]
    assert complete == [LEADS[-1], 8]
    first, second = deployment.materializations()
    assert (first.partition, second.partition) == (partition_key(INIT), partition_key(SECOND))
    assert (metadata_of(first)["published"], metadata_of(first)["new_labels"]) == (True, 0)
    shown = metadata_of(second)
    assert (shown["published"], shown["new_labels"], shown["labels_in_store"]) == (True, 1, 2)
    assert shown["fields_missing"] == len(VARIABLES)
    _, table, reasons = shown["completeness"].split("\n\n")
    assert {name: cells[2] for name, cells in rows_of(table).items()} == {
        "variable": "missing",
        **dict.fromkeys(sorted(VARIABLES), "1"),
    }
    assert reasons.startswith("- all variables: SourceFileMissing: ")
    assert "\n" not in reasons
    assert shown["extent"] == "2026-07-29T18:00 to 2026-07-30T00:00"
    assert shown["archives"] == f"{PRIMARY}: {shown['fields_succeeded']} fields"
    assert shown["template_hash"] == template_hash(site.dataset.template_config)
    assert shown["code_version"] == importlib.metadata.version("reformatters-dagster")
    assert set(rows_of(shown["negative_rates"])) == {"variable", RAIN}
    assert "variables_kept" not in shown
    assert site.tmp_files() == []


def test_what_was_kept_is_shown(deployment: Deployment) -> None:
    site = deployment.site
    site.arrive(INIT)
    deployment.run("backfill", INIT)
    site.remove(3)
    deployment.run("backfill", INIT)
    assert metadata_of(deployment.materializations()[-1])["variables_kept"] == f"all variables: {WHY_KEPT}"


def test_each_group_of_variables_is_a_step_of_its_own(deployment: Deployment) -> None:
    deployment.site.arrive(INIT, leads=[0, 1])
    result = deployment.run("backfill", INIT)
    succeeded = [event.step_key for event in result.all_events if event.is_step_success]
    name, graph = "test_gfs_forecast", "test__gfs_forecast"
    windowed, instant = sorted(WINDOWED)[0], sorted(INSTANT)[0]
    assert succeeded == [
        f"{graph}.{name}__plan",
        f"{graph}.{name}__process_region_job[{windowed}]",
        f"{graph}.{name}__process_region_job[{instant}]",
        f"{graph}.{name}__commit",
    ]
    assert step_outputs(deployment.site.folder / "primary") == {}


def test_a_failed_run_keeps_the_small_outputs_of_its_steps(deployment: Deployment) -> None:
    deployment.site.arrive(SECOND)
    with pytest.raises(NothingSucceeded):
        deployment.run("backfill", INIT)
    kept = step_outputs(deployment.site.folder / "primary")
    assert len(kept) == 4
    assert max(len(json.dumps(one)) for one in kept.values()) < 20_000


# Warning filters belong to the process, and the three runs here are threads of one.
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_partitions_that_find_no_store_create_one_together(deployment: Deployment) -> None:
    labels = [INIT, SECOND, THIRD]
    deployment.site.arrive(*labels)

    def materialize(label: pd.Timestamp) -> bool:
        with dg.DagsterInstance.ephemeral() as instance:
            return replace(deployment, instance=instance).run("backfill", label, variables=[TEMPERATURE]).success

    with ThreadPoolExecutor(len(labels)) as pool:
        assert list(pool.map(materialize, labels)) == [True] * len(labels)
    ds = open_published(deployment.site.stores.primary)
    assert ds.indexes["init_time"].is_unique
    for label in labels:
        assert_forecast_true(ds, label, variables=[TEMPERATURE])
        entry = deployment.site.ledger(label)
        assert entry is not None
        assert entry.variables.keys() == {TEMPERATURE}


# Ending early


@pytest.fixture
def code_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Settings of `tests.orchestration.code_location` in the environment; the folder that holds everything."""
    monkeypatch.setenv("TEST_TEMPLATES", str(tmp_path / "templates"))
    monkeypatch.setenv("REFORMATTERS_STORE", str(tmp_path / "primary"))
    monkeypatch.setenv("REFORMATTERS_UPSTREAM", str(tmp_path / "upstream"))
    monkeypatch.setenv("REFORMATTERS_TMP", str(tmp_path / "tmp"))
    yield tmp_path
    sys.modules.pop("tests.orchestration.code_location", None)


def test_a_run_executed_again_from_its_failure_downloads_nothing_a_second_time(
    code_location: Path,
    gfs_sample: Sample,
    s3: S3Bucket,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFORMATTERS_STORE", s3.url)
    site = Site(code_location, gfs_forecast(code_location / "templates"), gfs_sample, {"store": s3.url})
    site.arrive(INIT)
    from tests.orchestration import code_location as location

    job = dg.reconstructable(location.backfill_job)
    config = QUIET | {"ops": {"test__gfs_forecast": {"config": {"variables": [TEMPERATURE]}}}}
    tags = {"dagster/partition": partition_key(INIT)}
    s3.server.fail({"methods": ["PUT"], "path": "/ledger/", "status": 403, "code": "AccessDenied"})
    failed = dg.execute_job(job, instance, run_config=config, tags=tags)
    assert [event.node_name for event in failed.all_events if event.is_step_failure] == ["test_gfs_forecast__commit"]
    assert site.ledger() is None
    s3.server.fail()
    shutil.rmtree(site.upstream)
    (site.upstream / PRIMARY).mkdir(parents=True)
    again = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
    retried = dg.execute_job(job, instance, run_config=config, tags=tags, reexecution_options=again)
    ran = {event.node_name for event in retried.all_events if event.is_step_success}
    assert (retried.success, ran) == (True, {"test_gfs_forecast__commit"})
    (event,) = retried.asset_materializations_for_node("test__gfs_forecast")
    assert metadata_of(event)["fields_succeeded"] == len(LEADS)
    entry = site.ledger()
    assert entry is not None
    assert entry.run_id == retried.run_id
    assert_forecast_true(open_published(site.stores.primary), INIT, variables=[TEMPERATURE])


@pytest.mark.slow
def test_a_terminated_run_ends_soon_and_leaves_nothing_in_tmp(code_location: Path, gfs_sample: Sample) -> None:
    files = {f"{PRIMARY}/{gfs_key(INIT, lead)}": b"" for lead in LEADS}
    home = code_location / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with FaultServer(files) as upstream:
        for path in files:
            upstream.script(path, Slow(60))
        environment = os.environ | {"REFORMATTERS_UPSTREAM": upstream.url, "DAGSTER_HOME": str(home)}
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "tests.orchestration.code_location"]
        command += ["--select", "test/gfs_forecast", "--partition", partition_key(INIT)]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            wait_for(lambda: upstream.requests or process.poll() is not None, 60)
            assert process.poll() is None, process.stderr.read().decode()
            assert list((code_location / "tmp").iterdir())
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            seconds = time.monotonic() - asked
    assert process.returncode != 0
    assert seconds < 20
    assert list((code_location / "tmp").iterdir()) == []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
    assert run.status in {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
