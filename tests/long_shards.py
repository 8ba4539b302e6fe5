"""An analysis whose shards hold many labels, and what an update of one downloaded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.spec.values import Timestamp
from tests.datasets import EARLIER, INIT, SECOND, THIRD, VARIABLES, Sample, Site, gfs_analysis

HOUR = pd.Timedelta("1h")
MANY = {"chunks": {"time": 12, "latitude": 10, "longitude": 9}, "shards": {"time": 24, "latitude": 20, "longitude": 18}}
LAST = INIT + 17 * HOUR


def make(folder: Path, sample: Sample, *, interpolate: bool = False) -> Site:
    dataset = gfs_analysis(folder / "templates", variables=VARIABLES, **MANY)
    if interpolate:
        dataset = interpolating(dataset)
    site = Site(folder, dataset, sample)
    site.arrive(EARLIER, leads=[6])
    site.arrive(INIT, SECOND, THIRD, leads=range(7))
    return site


def interpolating(dataset: DynamicalDataset) -> DynamicalDataset:
    return changed(dataset, VARIABLES, interpolate=True)


def changed(dataset: DynamicalDataset, variables: Sequence[str], **fields: Any) -> DynamicalDataset:
    """The same dataset with other fields in some of its variables."""
    config = dataset.template_config
    rows = tuple(row.model_copy(update=fields) if row.name in variables else row for row in config.data_vars)
    return replace(dataset, template_config=config.model_copy(update={"data_vars": rows}))


def chunks(site: Site) -> dict[str, bytes]:
    return {key: data for key, data in site.objects().items() if "/c/" in key}


def downloaded(report: RunReport) -> int:
    (commit,) = report.commits
    return commit.stats.bytes_in


def read_labels(report: RunReport, variable: str) -> list[Timestamp]:
    (commit,) = report.commits
    return [file.coord.out_loc()["time"] for file in commit.results[variable] if file.was_read]  # type: ignore[misc]


def drop(site: Site, element: str, lead: int) -> None:
    """One message less in a file's index."""
    index = Path(f"{site.file(lead)}.idx")
    index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if element not in line))
