"""The small partition, run without Dagster or under one of its executors.

`python -m benchmarks.probe core|in_process|multiprocess FOLDER`, each in a process of its own.
"""

import sys
from pathlib import Path

from benchmarks.dagster_probe import run
from benchmarks.pipelines.ours import INIT
from benchmarks.probe_partition import NOW, dataset_in, settings_in
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group


def run_core(folder: Path) -> None:
    """Plan, process and commit in this process."""
    dataset = dataset_in(folder)
    workspace = dataset.workspace(settings_in(folder))
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=False), NOW)
    outcomes = [
        process_group(dataset, dataset.context(workspace, NOW, run_id="a"), plan, group) for group in plan.groups
    ]
    commit_partition(dataset, workspace, plan, outcomes, run_id="a", now=NOW)


if __name__ == "__main__":
    mode, where = sys.argv[1], Path(sys.argv[2])
    if mode == "core":
        run_core(where)
    else:
        from benchmarks.dagster_probe import run

        run(mode, where)
