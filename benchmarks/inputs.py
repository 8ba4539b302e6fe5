"""The benchmark's inputs: a mirror of one GFS init time, encoded by ecCodes as NOAA packs it. Made once and kept."""

import os
from pathlib import Path

import pandas as pd

from benchmarks.task import INIT_TIME, VARIABLES, Task
from reformatters_dagster.sample_upstream import write_sample_upstream

LEAD_HOURS = 60


def make_task(folder: Path, lead_hours: int = LEAD_HOURS) -> Task:
    """Write what is missing of the inputs; return the task, whose folder is yet to be chosen."""
    mirror, template = folder / "mirror", folder / f"templates-{lead_hours}"
    write_sample_upstream(mirror, [pd.Timestamp(INIT_TIME)], range(lead_hours), variables=VARIABLES)
    reference = folder / f"reference-{lead_hours}"
    reference.mkdir(parents=True, exist_ok=True)
    task = Task(
        mirror=str(mirror),
        folder="",
        lead_hours=lead_hours,
        workers=os.process_cpu_count() or 1,
        template=str(template),
        reference=str(reference),
    )
    _commit_template(task)
    return task


def _commit_template(task: Task) -> None:
    from benchmarks.pipelines.ours import dataset_of

    dataset_of(task).template_config.update_template()
