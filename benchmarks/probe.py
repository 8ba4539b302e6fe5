"""The small partition, run without Dagster or under one of its executors.

`python -m benchmarks.probe core|in_process|multiprocess FOLDER`, each in a process of its own.
"""

import sys
from pathlib import Path

from benchmarks.dagster_probe import run
from benchmarks.pipelines.ours import INIT
from benchmarks.probe_partition import NOW, dataset_in, settings_in


def run_core(folder: Path) -> None:
    """Plan, process and commit in this process."""
    dataset = dataset_in(folder)
    workspace = dataset.workspace(settings_in(folder))
    plan = dataset.plan_partition(workspace, INIT, now=NOW, publish=False)
    outcomes = [
        dataset.process_group(dataset.context(workspace, NOW, run_id="a"), plan, group) for group in plan.groups
    ]
    dataset.commit_partition(workspace, plan, outcomes, run_id="a", now=NOW)


if __name__ == "__main__":
    mode, where = sys.argv[1], Path(sys.argv[2])
    if mode == "core":
        run_core(where)
    else:
        from benchmarks.dagster_probe import run

        run(mode, where)
