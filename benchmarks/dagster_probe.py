"""The partition of `probe` under Dagster, in this process or with a process per step; SQLite as on a laptop."""

import os
from pathlib import Path

import dagster as dg

from benchmarks.pipelines.ours import INIT
from benchmarks.probe_partition import FOLDER, dataset_in, settings_in
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import asset_key


def _job(executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    folder = Path(os.environ[FOLDER])
    dataset = dataset_in(folder)
    selection = dg.AssetSelection.assets(asset_key(dataset)).without_checks()
    job = dg.define_asset_job("probe", selection=selection, executor_def=executor)
    definitions = dg.Definitions.merge(build_definitions([dataset], settings_in(folder)), dg.Definitions(jobs=[job]))
    return definitions.resolve_job_def("probe")


def in_process() -> dg.JobDefinition:
    return _job(dg.in_process_executor)


def multiprocess() -> dg.JobDefinition:
    return _job(dg.multiprocess_executor)


def run(mode: str, folder: Path) -> None:
    """Run the partition's job to its end, or raise what failed it."""
    os.environ[FOLDER] = str(folder)
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    job = dg.reconstructable({"in_process": in_process, "multiprocess": multiprocess}[mode])
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        tags = {"dagster/partition": partition_key(INIT)}
        dg.execute_job(job, instance, run_config=config, tags=tags, raise_on_error=True)
