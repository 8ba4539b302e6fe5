"""A deployment whose sensors are ticked, and what a tick asks for."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.orchestration.resources import Reformatters, utc_now
from reformatters_dagster.orchestration.sensors import build_heal_sensor, build_upstream_sensor
from tests.datasets import LEADS, PRIMARY, TEMPERATURE, Sample, Site, gfs_forecast, gfs_key
from tests.orchestration.deployments import Deployment

CYCLE = Timedelta("6h")
# Sensors ask the clock of the machine; the newest cycles of it are what there is to publish.
SECOND = utc_now().floor("6h").as_unit("us")
FIRST = SECOND - CYCLE


@dataclass(frozen=True)
class Watched:
    """A deployment whose archive starts with the last full cycle, and its sensors."""

    deployment: Deployment

    @property
    def site(self) -> Site:
        return self.deployment.site

    def having(self, **changes: Any) -> "Watched":
        return Watched(replace(self.deployment, site=self.site.having(**changes)))

    def announce(self, label: Timestamp, leads: Iterable[int] = LEADS, content: bytes = b"") -> None:
        """Files that can be listed; nobody reads them."""
        for lead in leads:
            path = self.site.upstream / PRIMARY / gfs_key(label, lead)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.with_name(f"{path.name}.idx").write_bytes(content)

    def publish(self, *labels: Timestamp) -> None:
        """Metadata alone, which is what sensors go by."""
        self.deployment.run("initialise", end=str(max(labels) + CYCLE))

    def tick(
        self, kind: str = "upstream", cursor: str | None = None, patience: Patience | None = None
    ) -> SensorExecutionData:
        sensor = self.deployment.definitions.resolve_sensor_def(self.site.dataset.job_name(kind))
        if patience is not None:
            job = dg.define_asset_job("job")
            upstream = build_upstream_sensor(self.site.dataset, job, patience=patience)
            heal = build_heal_sensor(self.site.dataset, job, job, pod={}, patience=patience)
            sensor = {"upstream": upstream, "heal": heal}[kind]
        resources = {"reformatters": Reformatters.from_settings(self.deployment.settings)}
        with dg.build_sensor_context(
            instance=self.deployment.instance,
            cursor=cursor,
            definitions=self.deployment.definitions,
            resources=resources,
        ) as context:
            return sensor.evaluate_tick(context)

    def record_run(
        self,
        request: dg.RunRequest,
        status: dg.DagsterRunStatus,
        kind: str = "update",
        *,
        ago: Timedelta = Timedelta(0),  # noqa: B008 it is immutable
    ) -> dg.DagsterRun:
        """A run as the daemon would have launched it so long ago, in the given state."""
        job = self.deployment.job({"upstream": "update", "heal": "backfill"}.get(kind, kind))
        tags = {**job.tags, **request.tags, "dagster/partition": str(request.partition_key)}
        run = dg.DagsterRun(job_name=job.name, tags=tags, status=status)
        created = (utc_now() - ago).to_pydatetime().replace(tzinfo=UTC)
        return self.deployment.instance.run_storage.add_historical_run(run, created)

    def fail(self, kind: str, times: int, ago: Timedelta) -> list[dg.RunRequest]:
        """What a sensor asks for while every run fails at once; the last one did so long ago."""
        requests = [only(self.tick(kind))]
        self.record_run(requests[0], dg.DagsterRunStatus.FAILURE, kind, ago=Timedelta("20D"))
        while len(requests) < times:
            requests.append(only(self.tick(kind)))
            since = ago if len(requests) == times else Timedelta("20D")
            self.record_run(requests[-1], dg.DagsterRunStatus.FAILURE, kind, ago=since)
        return requests


def watch(folder: Path, instance: dg.DagsterInstance, start: Timestamp) -> Watched:
    """A deployment of one variable whose archive starts with a label, and has no file yet."""
    axis = AppendAxis(name="init_time", start=start, frequency="6h")
    dataset = gfs_forecast(folder / "templates", append_dim=axis, variables=[TEMPERATURE])
    site = Site(folder, dataset, Sample(folder / "sample", folder))
    (site.upstream / PRIMARY).mkdir(parents=True)
    return Watched(Deployment(site, instance)).having(soft_deadline=Timedelta("30D"))


def only(tick: SensorExecutionData) -> dg.RunRequest:
    """The one run a tick asks for."""
    requests = tick.run_requests or []
    assert len(requests) == 1, tick.skip_message
    return requests[0]


def skipped(tick: SensorExecutionData) -> str:
    """Why a tick asks for none."""
    assert not tick.run_requests
    return tick.skip_message or ""


def settings_of(request: dg.RunRequest) -> dict[str, Any]:
    """Fields of the run config a sensor sends along."""
    fields: dict[str, Any] = request.run_config["ops"]["test__gfs_forecast"]["config"]
    return fields
