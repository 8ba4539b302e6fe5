"""A deployment whose store, replica or upstream can be spoilt in one place, and what its validators then say.

In: a fault. Out: the results of all checks that every dataset has, by name.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from reformatters_dagster.cli.reporting import Wanted, make_report
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.run.comparison import check_replicas
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import lead_time
from reformatters_dagster.core.spec.values import Float32Array, Timestamp
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import INIT, PRIMARY, RAIN, SOON, STEP, TEMPERATURE, Sample, Site, gfs_forecast
from tests.report.page import Page, failures_shown

LEADS = range(4)
INITS = pd.date_range(INIT, periods=6, freq="6h", unit="us")
NEWEST = INITS[-1]
CHECKS = (CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS)
STORE = "test-gfs-forecast/v0.1.0.zarr"


def small_forecast(folder: Path) -> DynamicalDataset:
    """Two variables of four lead times, one object a shard, with every standard check."""
    sizes = {"init_time": 1, "lead_time": 4, "latitude": 20, "longitude": 18}
    made = gfs_forecast(
        folder, variables=[TEMPERATURE, RAIN], dims=(lead_time(hourly_to="3h"),), chunks=sizes, shards=sizes
    )
    return replace(made, validators=CHECKS)


class Planted:
    """A healthy deployment with a replica.

    Parameters
    ----------
    upstream : Path, optional
        Where the files are that it was made from, if not in its own folder: copies of files have other ETags.
    """

    def __init__(self, folder: Path, dataset: DynamicalDataset, sample: Path, upstream: Path | None = None) -> None:
        settings: dict[str, Any] = {"replicas": (str(folder / "copy"),)} | (
            {} if upstream is None else {"upstream": str(upstream)}
        )
        self.site = Site(folder, dataset, Sample(sample, sample), settings)

    @property
    def store(self) -> Path:
        return self.site.folder / "primary" / STORE

    def arrive(self, inits: Iterable[Timestamp]) -> None:
        self.site.arrive(*inits, leads=LEADS)

    def update(self, init: Timestamp) -> None:
        self.site.update(init + SOON)

    def checks(self, now: Timestamp = NEWEST + SOON) -> dict[str, CheckResult]:
        """What each check says."""
        site = self.site
        found = site.dataset.validate(site.stores.primary, now, internal=site.stores.internal, workspace=site.workspace)
        return {one.name: one for one in [*found, check_replicas(site.stores, now)]}

    def failing(self, now: Timestamp = NEWEST + SOON) -> dict[str, str]:
        """The messages of checks that fail."""
        return {name: one.message for name, one in self.checks(now).items() if not one.passed}

    def reported(self, now: Timestamp = NEWEST + SOON) -> tuple[dict[str, CheckResult], Page]:
        """The checks that fail, by name, and the report of the store, on which each of them is shown."""
        return failures_shown(make_report(self.site.dataset, self.site.deployment, now, Wanted(pictures=False)))

    def change(self, variable: str, label: int, how: Callable[[Float32Array], Float32Array]) -> None:
        """Rewrite the fields of one label, in the primary and the replica."""
        for base in ("primary", "copy"):
            array = zarr.open_array(self.site.folder / base / STORE / variable, mode="r+")
            array[label] = how(np.asarray(array[label]))

    def edit(self, key: str, how: Callable[[str], str]) -> None:
        """Rewrite a document, in the primary and the replica."""
        for base in ("primary", "copy"):
            path = self.site.folder / base / STORE / key
            text = how(path.read_text())
            json.loads(text)
            path.write_text(text)


def sample_of(folder: Path, inits: pd.DatetimeIndex) -> Path:
    """Files of some init times."""
    write_sample_upstream(folder, list(inits), LEADS, variables=(TEMPERATURE, RAIN), step=STEP)
    assert (folder / PRIMARY).is_dir()
    return folder


def copied(healthy: Planted, folder: Path) -> Planted:
    """The same stores in another folder, beside the same upstream."""
    site = healthy.site
    for base in ("primary", "copy"):
        shutil.copytree(site.folder / base, folder / base)
    return Planted(folder, site.dataset, site.sample.folder, site.upstream)
