"""Runs of an instance as they would have ended some days ago, with what they recorded."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData

from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.orchestration.pruning import Pruned, prune_runs
from reformatters_dagster.orchestration.resources import utc_now

KEY = dg.AssetKey(["noaa", "gfs_forecast"])
CHECK = dg.AssetCheckKey(KEY, "recent_nans")
DAY = 86400.0


class History:
    """Runs as they would have ended so many days ago."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def run(
        self,
        days: float,
        *,
        partition: str | None = None,
        result: dg.DagsterEventType | None = dg.DagsterEventType.RUN_SUCCESS,
        materializes: bool = True,
        checks: bool = False,
        job: str = "update",
        tags: Mapping[str, str] | None = None,
        hours: float = 1,
    ) -> str:
        """Its id; None as result is a run that goes on. It ends so many hours after it was created."""
        created = time.time() - days * DAY
        made = dg.DagsterRun(job_name=job, tags=dict(tags or {}), status=dg.DagsterRunStatus.STARTING)
        run = self.instance.run_storage.add_historical_run(made, datetime.fromtimestamp(created, UTC))
        self._report(run, dg.DagsterEventType.RUN_START, created)
        if partition is not None:
            planned = _planned(job, partition)
            self.instance.report_dagster_event(planned, run.run_id, timestamp=created)
            if materializes:
                self._materialize(run, partition, created)
        if checks:
            evaluation = dg.AssetCheckEvaluation(KEY, CHECK.name, passed=True)
            event = dg.DagsterEvent(
                dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, job, event_specific_data=evaluation, step_key="step"
            )
            self.instance.report_dagster_event(event, run.run_id, timestamp=created)
        if result is not None:
            self._report(run, result, created + hours * 3600)
        return run.run_id

    def _materialize(self, run: dg.DagsterRun, partition: str, at: float) -> None:
        made = StepMaterializationData(dg.AssetMaterialization(KEY, partition=partition))
        event = dg.DagsterEvent(
            dg.DagsterEventType.ASSET_MATERIALIZATION.value, run.job_name, event_specific_data=made, step_key="step"
        )
        self.instance.report_dagster_event(event, run.run_id, timestamp=at)

    def _report(self, run: dg.DagsterRun, kind: dg.DagsterEventType, at: float) -> None:
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id, timestamp=at)

    def left(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def prune(self, days: float = 30, **options: Any) -> Pruned:
        before = utc_now() - Timedelta(days=days)
        return prune_runs(self.instance, before, **{"batch": 2, "dry_run": False} | options)


def _planned(job: str, partition: str) -> dg.DagsterEvent:
    return dg.DagsterEvent(
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
        job,
        event_specific_data=AssetMaterializationPlannedData(KEY, partition=partition),
    )
