"""What happens in a demo. In: a folder. Out: three stores of invented weather, made by the Dagster definitions of production.

The file of one lead time comes late. So the newest forecast is published with a hole, which the heal sensor has filled.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import dagster as dg
import xarray as xr

from dataset_defs.contrib.demo import DATASET as RADAR
from dataset_defs.ecmwf.ifs_ens.demo import DATASET as ENSEMBLE
from dataset_defs.ecmwf.ifs_ens.demo import MEMBERS, VARIABLES
from dataset_defs.ecmwf.ifs_ens.files import CONTROL
from dataset_defs.noaa.gfs.demo import DATASET
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.status import status
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.demo.folder import (
    DATASETS,
    DAY,
    ENSEMBLE_LEAD_HOURS,
    HOUR,
    LATE_HOUR,
    LEAD_HOURS,
    SAMPLE_DATA,
    Demo,
    Say,
    open_demo,
)
from reformatters_dagster.demo.picture import draw_forecast
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import BACKFILL, HEAL, UPDATE, asset_key
from reformatters_dagster.orchestration.resources import Reformatters
from reformatters_dagster.sample_upstream import write_sample_upstream
from reformatters_dagster.sample_upstream.ecmwf import write_ifs_sample
from reformatters_dagster.sample_upstream.mrms import write_mrms_sample

STEP, ENSEMBLE_STEP = 0.5, 1.0
TOLD = ("fields_expected", "fields_succeeded", "fields_missing", "bytes_in", "bytes_out")
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def run_demo(folder: Path, now: Timestamp, say: Say) -> int:
    """Run the demo and tell what happens; return the exit status.

    Running it again is safe: what is there already is found to be there, and written again to the same bytes.
    """
    demo = open_demo(folder, now, say)
    with _Stage.open(demo, say) as stage:
        _begin(stage)
        _heal(stage)
        _ensemble(stage)
        _radar(stage)
    store = demo.settings.stores(DATASET.template_config).primary
    picture = demo.folder / "forecast.png"
    ds = xr.open_zarr(store.reader(), chunks=None, decode_timedelta=True)
    picture.write_bytes(draw_forecast(ds.sel(init_time=demo.second)))
    location = store.url.removeprefix("file://")
    init_times = ", ".join(str(time)[:16] for time in ds["init_time"].values)
    say(f"Store ({SAMPLE_DATA}): {location} with init_time {init_times}")
    say(f'  import xarray as xr; ds = xr.open_zarr("{location}")')
    say(f"Picture ({SAMPLE_DATA}): {picture}")
    say(f"The same in the Dagster UI: . {demo.folder / 'env'} && uv run dg dev -w {demo.workspace}")
    say(f"  It has {', '.join(dataset.dataset_id for dataset in DATASETS)}, the datasets with a sample upstream")
    return 0


def begin_demo(folder: Path, now: Timestamp, say: Say) -> Demo:
    """The first half of a demo: its newest forecast is published with a hole, and nothing has healed it yet."""
    demo = open_demo(folder, now, say)
    with _Stage.open(demo, say) as stage:
        _begin(stage)
    return demo


def deliver_late_file(demo: Demo) -> Path:
    """Let the file appear upstream whose lack is the hole."""
    (late,) = write_sample_upstream(demo.upstream, [demo.second], [LATE_HOUR], step=STEP)
    return late


def _begin(stage: "_Stage") -> None:
    stage.say(
        f"{SAMPLE_DATA}: every field is invented; formats, names and times are those of GFS, IFS ensemble and MRMS"
    )
    _write_upstream(stage.demo, stage.say)
    _backfill(stage)
    _update(stage)


def _write_upstream(demo: Demo, say: Say) -> None:
    late = () if demo.second in _published(demo, DATASET) else (LATE_HOUR,)
    leads = [hour for hour in LEAD_HOURS if hour not in late]
    say(
        f"Sample upstream: GFS GRIB2 of {STEP} degrees, init times {demo.first} and {demo.second}, lead times "
        f"0-{LEAD_HOURS[-1]} h{''.join(f'; the file of {demo.second} + {hour} h is late' for hour in late)}"
    )
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(_write_others, demo)
        files = write_sample_upstream(demo.upstream, [demo.first], LEAD_HOURS, step=STEP)
        files += write_sample_upstream(demo.upstream, [demo.second], leads, step=STEP)
        say(f"  {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB, each with its .idx")
        others.result()
    first, last = demo.radar_hours[0], demo.radar_hours[-1]
    say(f"  and MRMS radar around Guam, {len(demo.radar_hours)} hours from {first} to {last}, each a .grib2.gz")
    say(
        f"  and {len(MEMBERS)} members of an IFS ensemble of {ENSEMBLE_STEP:g} degree, init time {demo.ensemble_init}, each "
        "lead time with its .index"
    )


def _write_others(demo: Demo) -> None:
    """Files of radar and ensemble, where they are not there yet. The control run lies in files of its own, as ECMWF has it."""
    hours = [hour for hour, path in zip(demo.radar_hours, demo.radar_files(), strict=True) if not path.exists()]
    write_mrms_sample(demo.upstream, hours, grid=RADAR.template_config.grid)  # type: ignore[arg-type]
    if all(path.exists() for path in demo.ensemble_files()):
        return
    perturbed = [member for member in MEMBERS if member != CONTROL]
    for members, single in (([CONTROL], True), (perturbed, False)):
        write_ifs_sample(
            demo.upstream,
            demo.ensemble_init,
            ENSEMBLE_LEAD_HOURS,
            members=members,
            single=single,
            variables=tuple(VARIABLES),
            step=ENSEMBLE_STEP,
        )


def _published(demo: Demo, dataset: DynamicalDataset) -> Sequence[Timestamp]:
    template = dataset.template_config
    return list(published_labels(demo.settings.stores(template).primary, template.append_dim.name))


@dataclass
class _Stage:
    """What the steps of a demo share."""

    demo: Demo
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    say: Say
    cursors: dict[str, str | None] = field(default_factory=dict)
    """What the last tick of each sensor left."""

    @classmethod
    @contextmanager
    def open(cls, demo: Demo, say: Say) -> Iterator[Self]:
        with dg.DagsterInstance.from_config(demo.environment["DAGSTER_HOME"]) as instance:
            yield cls(demo, build_definitions(DATASETS, demo.settings), instance, say)

    def published(self, dataset: DynamicalDataset) -> Sequence[Timestamp]:
        return _published(self.demo, dataset)

    def execute(
        self,
        job: str,
        run_config: dict[str, Any] | None = None,
        partition: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config={**(run_config or {}), **QUIET}, instance=self.instance, partition_key=partition, tags=tags
        )

    def initialise(self, dataset: DynamicalDataset, end: Timestamp) -> None:
        """Run the job that creates a store's metadata, or extends it, to the labels before a time."""
        job = dataset.job_name("initialise")
        self.say(f"Job {job}: metadata of labels before {end}")
        self.execute(job, {"ops": {dataset.job_name("initialise_store"): {"config": {"end": str(end)}}}})

    def backfill(self, dataset: DynamicalDataset, partition: str) -> None:
        """Run one partition as a partition backfill in the UI does it."""
        job = dataset.job_name(BACKFILL)
        self.say(f"Job {job}: partition {partition}, {len(dataset.template_config.variables)} variables")
        ops = {asset_key(dataset).to_python_identifier(): {"config": {"publish": False}}}
        self.tell_files(dataset, self.execute(job, {"ops": ops}, partition))

    def tick(self, dataset: DynamicalDataset, kind: str) -> list[dg.ExecuteInProcessResult]:
        """What the daemon does once a minute: ask a sensor, run what it requests."""
        sensor = self.definitions.resolve_sensor_def(dataset.job_name(kind))
        resources = {"reformatters": Reformatters.from_settings(self.demo.settings)}
        with dg.build_sensor_context(
            instance=self.instance,
            definitions=self.definitions,
            resources=resources,
            cursor=self.cursors.get(sensor.name),
        ) as context:
            tick = sensor.evaluate_tick(context)
        self.cursors[sensor.name] = tick.cursor
        requests = tick.run_requests or []
        if not requests:
            self.say(f"Sensor {sensor.name}: {tick.skip_message}")
        return [self._launch(dataset, sensor.name, request) for request in requests]

    def _launch(self, dataset: DynamicalDataset, sensor: str, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        job = request.job_name or dataset.job_name(UPDATE)
        partition = f" for partition {request.partition_key}" if request.partition_key else ""
        self.say(f"Sensor {sensor}: launches {job}{partition}")
        tags = {**request.tags, "dagster/run_key": str(request.run_key)}
        result = self.execute(job, dict(request.run_config), request.partition_key, tags)
        self.tell_files(dataset, result)
        return result

    def tell_files(self, dataset: DynamicalDataset, result: dg.ExecuteInProcessResult) -> None:
        for event in result.get_asset_materialization_events():
            if event.asset_key == asset_key(dataset):
                metadata = event.materialization.metadata
                told = (f"{name.replace('_', ' ')} {metadata[name].value:,}" for name in TOLD)
                self.say(f"  {', '.join(told)}")

    def tell_checks(self, result: dg.ExecuteInProcessResult) -> None:
        checks = result.get_asset_check_evaluations()
        passed = sum(check.passed for check in checks)
        self.say(f"Validators: {passed} of {len(checks)} pass")
        for check in checks:
            if not check.passed:
                self.say(f"  FAILED {check.check_name}: {check.description}")


def _backfill(stage: _Stage) -> None:
    if stage.demo.first not in stage.published(DATASET):
        stage.initialise(DATASET, stage.demo.second)
    stage.backfill(DATASET, partition_key(stage.demo.first))


def _update(stage: _Stage) -> None:
    """Let the upstream sensor find the second init time, whose late file is not there yet."""
    results = stage.tick(DATASET, "upstream")
    if stage.demo.second not in stage.published(DATASET):
        raise ReformatError(
            f"{stage.demo.second} was to be published; the sensor launched nothing that does: end what it waits for in the "
            "Dagster UI, or give an empty --folder"
        )
    if results:
        _tell_completeness(stage)
        for result in results:
            stage.tell_checks(result)


def _heal(stage: _Stage) -> None:
    """Let the late file appear, and the heal sensor fill what lacks it, and have the validators run again."""
    demo, say = stage.demo, stage.say
    had_holes = any(_holes(stage).values())
    late = deliver_late_file(demo)
    if had_holes:
        say(f"The late file appears: {late.name}")
    filled = stage.tick(DATASET, HEAL)
    if filled:
        _tell_completeness(stage)
    validated = stage.tick(DATASET, HEAL) if filled else []
    for result in validated or [stage.execute(DATASET.job_name("validate"))]:
        stage.tell_checks(result)


def _ensemble(stage: _Stage) -> None:
    """Fill the newest day of a second dataset, of another provider."""
    init_time = stage.demo.ensemble_init
    if init_time not in stage.published(ENSEMBLE):
        stage.initialise(ENSEMBLE, init_time + DAY)
        stage.backfill(ENSEMBLE, partition_key(init_time))
    stage.tell_checks(stage.execute(ENSEMBLE.job_name("validate")))


def _radar(stage: _Stage) -> None:
    """Fill the days of a third dataset, up to its newest hour."""
    hours = stage.demo.radar_hours
    if hours[-1] not in stage.published(RADAR):
        stage.initialise(RADAR, hours[-1] + HOUR)
        for day in sorted({hour.floor(DAY) for hour in hours}):
            stage.backfill(RADAR, partition_key(day))
    stage.tell_checks(stage.execute(RADAR.job_name("validate")))


def _holes(stage: _Stage) -> dict[str, list[int]]:
    """Lead hours of the second init time that each variable lacks, by the ledger."""
    stores = stage.demo.settings.stores(DATASET.template_config)
    (partition,) = status(DATASET, stores, contains=stage.demo.second).partitions
    known = partition.entry.variables if partition.entry is not None else {}
    return {name: [int(lost.file.rpartition("f")[2]) for lost in coverage.missing] for name, coverage in known.items()}


def _tell_completeness(stage: _Stage) -> None:
    holes = _holes(stage)
    width = max(map(len, holes))
    stage.say(f"Completeness of {stage.demo.second}, one character a lead time, 0 to {LEAD_HOURS[-1]} h:")
    for name, hours in holes.items():
        stage.say(f"  {name:{width}}  {''.join('.' if hour in hours else '#' for hour in LEAD_HOURS)}")
