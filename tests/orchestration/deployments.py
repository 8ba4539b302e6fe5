"""A dataset under Dagster, in a folder of its own: its definitions, an instance, and what its runs say."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import asset_key
from tests.datasets import Site

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Deployment:
    """One dataset, its places and a Dagster instance."""

    site: Site
    instance: dg.DagsterInstance

    @cached_property
    def settings(self) -> Settings:
        places: dict[str, Any] = {
            "store": str(self.site.folder / "primary"),
            "upstream": str(self.site.upstream),
            "tmp": str(self.site.tmp),
        }
        return Settings(**(places | self.site.settings))

    @cached_property
    def definitions(self) -> dg.Definitions:
        return build_definitions([self.site.dataset], self.settings)

    @property
    def key(self) -> dg.AssetKey:
        return asset_key(self.site.dataset)

    def job(self, kind: str) -> dg.JobDefinition:
        return self.definitions.resolve_job_def(self.site.dataset.job_name(kind))

    def config(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Run config of a job: what it has by itself, and the given fields."""
        ops: dict[str, Any] = {self.key.to_python_identifier(): {"config": {"publish": kind == "update"} | fields}}
        if kind == "initialise":
            ops = {self.site.dataset.job_name("initialise_store"): {"config": fields}}
        return QUIET | ({} if kind == "validate" else {"ops": ops})

    def run(
        self, kind: str, label: Timestamp | None = None, *, tags: dict[str, str] | None = None, **config: Any
    ) -> dg.ExecuteInProcessResult:
        """Run a job, of one partition where the job has them; raises what fails it."""
        return self.job(kind).execute_in_process(
            run_config=self.config(kind, **config),
            instance=self.instance,
            partition_key=None if label is None else partition_key(label),
            tags=tags,
        )

    def refused(self, kind: str, label: Timestamp | None = None, **asked: Any) -> tuple[str, str]:
        """Run a job that is to be refused: the op that said so, and its words as the event log has them."""
        with pytest.raises(dg.Failure) as caught:
            self.run(kind, label, **asked)
        assert caught.value.allow_retries is False
        return self.last_failure()

    def last_failure(self) -> tuple[str, str]:
        """Op that failed the newest run, and why, as the event log has it."""
        (record,) = self.instance.get_run_records(limit=1)
        assert record.dagster_run.status is dg.DagsterRunStatus.FAILURE
        logs = self.instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        (event,) = [log.get_dagster_event() for log in logs]
        data = event.step_failure_data
        if data.user_failure_data is not None:
            return event.node_name, data.user_failure_data.description or ""
        assert data.error is not None
        return event.node_name, data.error.to_string()

    def materializations(self) -> list[dg.AssetMaterialization]:
        """Every materialization that was recorded, oldest first."""
        found = self.instance.fetch_materializations(self.key, limit=100, ascending=True)
        return [record.asset_materialization for record in found.records if record.asset_materialization]


def metadata_of(materialization: dg.AssetMaterialization) -> dict[str, Any]:
    """Its metadata as plain values."""
    return {name: value.value for name, value in materialization.metadata.items()}


def rows_of(table: str) -> dict[str, list[str]]:
    """Rows of a Markdown table by their first cell, which the others follow."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert set("".join(rows[1])) <= set("-: ")
    return {row[0]: row[1:] for row in [rows[0], *rows[2:]]}


def step_outputs(base: Path) -> dict[str, Any]:
    """What the JSON IO manager has kept of runs, by run-less key."""
    files = sorted((base / "_runs").rglob("*.json"))
    return {"/".join(file.relative_to(base).parts[2:]): json.loads(file.read_text()) for file in files}
