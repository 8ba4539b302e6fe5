"""The main job on a sample upstream, offline: a backfill, an update that a sensor launches, validation, a picture.

In: a folder. Out: a store with two init times of invented weather in it, made through the same Dagster definitions that
production runs.
"""

import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import xarray as xr

from dataset_defs.noaa.gfs.forecast import DATASET, GfsSourceFileCoord
from reformatters_dagster.core.spec.errors import ReformatError, Refused
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.settings import Settings, parse_time
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import asset_key
from reformatters_dagster.orchestration.resources import Reformatters
from reformatters_dagster.pictures import MapPanel, draw_maps, labels_in_words, panel_of
from reformatters_dagster.sample_upstream import DEMO_VARIABLES, write_sample_upstream

type Say = Callable[[str], None]

SAMPLE_DATA = "SAMPLE DATA"
LEAD_HOURS = (0, 1, 2, 3, 4, 5, 6)
CYCLE = pd.Timedelta("6h")
PRESSURE = "pressure_reduced_to_mean_sea_level"

DAGSTER_YAML = """\
telemetry:
  enabled: false
python_logs:
  managed_python_loggers: [reformatters_dagster]
  python_log_level: INFO
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - key: reformatters/exclusive
        value: {applyLimitPerUniqueValue: true}
        limit: 1
"""


@dataclass(frozen=True)
class Demo:
    """Where a demo keeps its things, and the two init times it is about."""

    folder: Path
    first: Timestamp

    @property
    def second(self) -> Timestamp:
        return self.first + CYCLE

    @property
    def init_times(self) -> list[Timestamp]:
        return [self.first, self.second]

    @property
    def upstream(self) -> Path:
        return self.folder / "upstream"

    def sample_files(self, init_time: Timestamp) -> Iterator[Path]:
        """Files of one init time, and the indexes beside them."""
        for hour in LEAD_HOURS:
            key = GfsSourceFileCoord(init_time=init_time, lead_time=pd.Timedelta(hours=hour)).key()
            data = self.upstream / DATASET.archives[0].folder / key
            yield from (data, data.with_name(f"{data.name}.idx"))

    @property
    def store_folders(self) -> list[Path]:
        """The store, and what is kept about it."""
        stores = self.settings.stores(DATASET.template_config)
        return [Path(store.url.removeprefix("file://")) for store in (stores.primary, stores.internal)]

    @property
    def settings(self) -> Settings:
        return Settings(
            store=str(self.folder / "stores"),
            upstream=str(self.upstream),
            tmp=str(self.folder / "tmp"),
            start=self.first,
        )

    @property
    def environment(self) -> dict[str, str]:
        """What makes `dagster dev` show this demo."""
        return {
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "REFORMATTERS_STORE": str(self.folder / "stores"),
            "REFORMATTERS_UPSTREAM": str(self.upstream),
            "REFORMATTERS_TMP": str(self.folder / "tmp"),
            "REFORMATTERS_START": f"{self.first:%Y-%m-%dT%H}",
        }


def open_demo(folder: Path, now: Timestamp, say: Say) -> Demo:
    """The demo of a folder; one of an earlier cycle is begun anew, since its forecasts are no longer the newest.

    Of an earlier one the store and its sample files are deleted. Whatever else the folder holds stays: other datasets'
    stores, other upstream files, what Dagster remembers.

    Raises
    ------
    ReformatError
        When the folder holds something that is no demo.
    """
    newest = (now - DATASET.soft_deadline).floor(CYCLE)
    demo = Demo(folder.resolve(), newest - CYCLE)
    marker = demo.folder / "first_init_time"
    if marker.exists():
        earlier = Demo(demo.folder, _read_marker(marker))
        if earlier == demo:
            return demo
        _delete_what_is_old(earlier, demo, say)
    elif demo.folder.exists() and any(demo.folder.iterdir()):
        raise ReformatError(f"the demo was to be made in {demo.folder}; it holds other files: give an empty --folder")
    dagster = demo.folder / "dagster"
    dagster.mkdir(parents=True, exist_ok=True)
    if not (dagster / "dagster.yaml").exists():
        (dagster / "dagster.yaml").write_text(DAGSTER_YAML)
    exports = (f"export {name}={shlex.quote(value)}\n" for name, value in demo.environment.items())
    (demo.folder / "env").write_text("".join(exports))
    marker.write_text(f"{demo.first.isoformat()}\n")
    return demo


def _read_marker(marker: Path) -> Timestamp:
    text = marker.read_text()
    try:
        return parse_time(text)
    except Refused as error:
        raise ReformatError(f"{marker} was to hold an init time; it holds {text!r}: give an empty --folder") from error


def _delete_what_is_old(earlier: Demo, demo: Demo, say: Say) -> None:
    """The marker is written anew later: what is interrupted here is done again."""
    old = [init_time for init_time in earlier.init_times if init_time not in demo.init_times]
    say(
        f"The demo in {demo.folder} is of another cycle, {earlier.second}, and begins anew: its {DATASET.dataset_id} store "
        f"and its sample files of {' and '.join(map(str, old))} are deleted; everything else there stays"
    )
    for folder in earlier.store_folders:
        if folder.exists():
            shutil.rmtree(folder)
    for path in (path for init_time in old for path in earlier.sample_files(init_time)):
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == earlier.upstream:
                break
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def run_demo(folder: Path, now: Timestamp, say: Say) -> int:
    """Run the demo and tell what happens; return the exit status.

    Running it again is safe: what is there already is found to be there, and written again to the same bytes.
    """
    demo = open_demo(folder, now, say)
    say(f"{SAMPLE_DATA}: every field is invented; formats, names and times are those of NOAA's GFS")
    say(f"Sample upstream: GFS 0.25 degree GRIB2, init times {demo.first} and {demo.second}, lead times 0-6 h")
    files = write_sample_upstream(demo.upstream, demo.init_times, LEAD_HOURS)
    say(f"  {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB, each with its .idx")
    definitions = build_definitions([DATASET], demo.settings)
    with dg.DagsterInstance.from_config(demo.environment["DAGSTER_HOME"]) as instance:
        _backfill(demo, definitions, instance, say)
        launched = _update(demo, definitions, instance, say)
        _tell_checks(definitions, instance, launched, say)
    store = demo.settings.stores(DATASET.template_config).primary
    picture = demo.folder / "forecast.png"
    ds = xr.open_zarr(store.reader(), chunks=None, decode_timedelta=True)
    picture.write_bytes(draw_forecast(ds.sel(init_time=demo.second)))
    location = store.url.removeprefix("file://")
    say(
        f"Store ({SAMPLE_DATA}): {location} with init_time {', '.join(str(time)[:16] for time in ds['init_time'].values)}"
    )
    say(f'  import xarray as xr; ds = xr.open_zarr("{location}")')
    say(f"Picture ({SAMPLE_DATA}): {picture}")
    say(f"The same in the Dagster UI: . {demo.folder / 'env'} && uv run dagster dev")
    say(f"  Only {DATASET.dataset_id} has a sample upstream: the sensors of the other datasets find no files there")
    return 0


def _backfill(demo: Demo, definitions: dg.Definitions, instance: dg.DagsterInstance, say: Say) -> None:
    """Metadata up to the first init time, then its partition, as a partition backfill in the UI does it."""
    store = demo.settings.stores(DATASET.template_config).primary
    if not len(published_labels(store, "init_time")):
        say(f"Job {DATASET.job_name('initialise')}: metadata for one init time")
        _execute(
            definitions,
            "initialise",
            instance,
            ops={DATASET.job_name("initialise_store"): {"config": {"end": str(demo.second)}}},
        )
    say(
        f"Job {DATASET.job_name('backfill')}: partition {partition_key(demo.first)}, variables {', '.join(DEMO_VARIABLES)}"
    )
    config = {"variables": list(DEMO_VARIABLES)}
    ops = {asset_key(DATASET).to_python_identifier(): {"config": config}}
    _tell_files(_execute(definitions, "backfill", instance, ops=ops, partition=partition_key(demo.first)), say)


def _update(
    demo: Demo, definitions: dg.Definitions, instance: dg.DagsterInstance, say: Say
) -> dg.ExecuteInProcessResult | None:
    """What the daemon does once a minute: ask the sensor, run what it requests."""
    sensor = definitions.resolve_sensor_def(DATASET.job_name("upstream"))
    resources = {"reformatters": Reformatters.from_settings(demo.settings)}
    with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
        tick = sensor.evaluate_tick(context)
    if not tick.run_requests:
        say(f"Sensor {sensor.name}: {tick.skip_message}")
        if demo.second not in published_labels(demo.settings.stores(DATASET.template_config).primary, "init_time"):
            raise ReformatError(
                f"{demo.second} was to be published; the sensor launched nothing, since {tick.skip_message}: end what it "
                "waits for in the Dagster UI, or give an empty --folder"
            )
        return None
    result = None
    for request in tick.run_requests:
        say(f"Sensor {sensor.name}: launches {DATASET.job_name('update')} for partition {request.partition_key}")
        result = _execute(
            definitions,
            "update",
            instance,
            partition=request.partition_key,
            tags={**request.tags, "dagster/run_key": str(request.run_key)},
        )
        _tell_files(result, say)
    return result


def _execute(
    definitions: dg.Definitions,
    kind: str,
    instance: dg.DagsterInstance,
    *,
    ops: dict[str, Any] | None = None,
    partition: str | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def(DATASET.job_name(kind))
    quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    if ops is None:
        ops = {asset_key(DATASET).to_python_identifier(): {"config": {"publish": kind == "update"}}}
    return job.execute_in_process(
        run_config={"ops": ops, **quiet}, instance=instance, partition_key=partition, tags=tags
    )


def _tell_files(result: dg.ExecuteInProcessResult, say: Say) -> None:
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    wanted = ("files_expected", "files_succeeded", "files_missing", "bytes_in", "bytes_out")
    say("  " + ", ".join(f"{name.replace('_', ' ')} {metadata[name].value:,}" for name in wanted))


def _tell_checks(
    definitions: dg.Definitions, instance: dg.DagsterInstance, update: dg.ExecuteInProcessResult | None, say: Say
) -> None:
    """Validators, as the update's run asked them; without an update, asked now."""
    if update is None:
        job = definitions.resolve_job_def(DATASET.job_name("validate"))
        quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        update = job.execute_in_process(run_config=quiet, instance=instance)
    say("Validators (some are expected to fail here: the sample has 6 of 25 variables and 7 of 209 lead times):")
    for check in update.get_asset_check_evaluations():
        say(f"  {'passed' if check.passed else 'FAILED'} {check.check_name}: {check.description}")


def draw_forecast(ds: xr.Dataset, lead_hours: int = LEAD_HOURS[-1]) -> bytes:
    """A picture of one forecast, as a reader of the store sees it, titled as sample data.

    Parameters
    ----------
    ds : xr.Dataset
        One init time of the store.
    """
    fields = ds.sel(lead_time=pd.Timedelta(hours=lead_hours))
    pressure, u, v = (fields[name].to_numpy() for name in (PRESSURE, "wind_u_10m", "wind_v_10m"))
    temperature, precipitation, isobars = (
        panel_of(fields[name], title=str(fields[name].attrs["long_name"]))
        for name in ("temperature_2m", "precipitation_surface", PRESSURE)
    )
    wind = MapPanel(
        np.hypot(u, v),
        temperature.latitude,
        temperature.longitude,
        "10 metre wind",
        str(fields["wind_u_10m"].attrs["units"]),
        variable="wind_speed",
        wind=(u, v),
    )
    panels = [temperature, precipitation, replace(isobars, isobars=pressure), wind]
    return draw_maps(panels, picture_title(ds, lead_hours))


def picture_title(ds: xr.Dataset, lead_hours: int) -> str:
    """What is drawn, of which init time; first of all, that it is no weather that ever was."""
    labels = {"init_time": pd.Timestamp(ds["init_time"].item()), "lead_time": pd.Timedelta(hours=lead_hours)}
    return f"{SAMPLE_DATA}: {ds.attrs['name']}, {labels_in_words(labels)}"
