"""What the last hours of a shard of 60 days cost. In: a folder. Out: CPU seconds and bytes downloaded, of both ways.

The dataset is `noaa-gfs-analysis` with its chunks and shards along time, on a 0.5 degree grid and with two variables. A store
that lacks the last six hours is updated; beside it the same shard is made from nothing. Both must end in the same bytes.
"""

import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from benchmarks.task import VARIABLES
from dataset_defs.noaa.gfs.analysis import DATASET, TEMPLATE
from reformatters_dagster.core.run.accounting import template_hash
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.sample_upstream import write_sample_upstream

START = pd.Timestamp("2026-06-01")
HOURS, NEW = 1440, 6
HOUR = pd.Timedelta("1h")
STEP = 0.5
GRID = LatLonGrid(
    latitude=RegularAxis(first=90.0, step=-STEP, size=361), longitude=RegularAxis(first=-180.0, step=STEP, size=720)
)


class _Template(TemplateConfig):
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "latest.zarr"


@dataclass(frozen=True)
class Cost:
    """One update."""

    cpu: float
    wall: float
    bytes_in: int


@dataclass(frozen=True)
class ShardUpdate:
    """Rounds of both ways, in the order they ran."""

    whole: list[Cost]
    """All 1,440 hours at once."""
    last: list[Cost]
    """The last six of them."""
    shard_bytes: int


def measure(folder: Path, say: Callable[[str], None], rounds: int) -> ShardUpdate:
    """Make the inputs if they are not there, then both ways by turns.

    Raises
    ------
    SystemExit
        When the two ways do not end in the same bytes.
    """
    place = folder / "shard-update"
    mirror = place / "mirror"
    say(f"inputs: {HOURS // 6 + 1} forecasts of 7 hours")
    inits = list(pd.date_range(START - 6 * HOUR, periods=HOURS // 6 + 1, freq="6h", unit="us"))
    write_sample_upstream(mirror, inits, range(7), variables=VARIABLES, step=STEP)
    dataset = _dataset(place / "template")
    before = place / f"before-{template_hash(dataset.template_config)}"
    if not before.exists():
        say("a store that lacks the last hours")
        _run(dataset, mirror, before, HOURS - NEW)
    whole, last = [], []
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        grown, anew = place / "grown", place / "anew"
        for old in (grown, anew):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(before, grown)
        last.append(_run(dataset, mirror, grown, HOURS))
        whole.append(_run(dataset, mirror, anew, HOURS))
        shards = _shards(grown)
        if shards != _shards(anew):
            raise SystemExit("the two ways end in different bytes")
    return ShardUpdate(whole, last, sum(map(len, shards.values())))


def _dataset(folder: Path) -> DynamicalDataset:
    rows = tuple(row for row in TEMPLATE.data_vars if row.name in VARIABLES)
    fields = {
        name: getattr(TEMPLATE, name) for name in ("dataset_id", "dataset_version", "attributes", "chunks", "shards")
    }
    axis = AppendAxis(name="time", start=START, frequency="1h")
    template = _Template(folder=folder, append_dim=axis, grid=GRID, data_vars=rows, **fields)
    template.update_template()
    return replace(DATASET, template_config=template)


def _run(dataset: DynamicalDataset, mirror: Path, store: Path, hours: int) -> Cost:
    settings = Settings(store=str(store), upstream=str(mirror), tmp=str(store.with_name("tmp")))
    workspace = dataset.workspace(settings)
    started, used = time.perf_counter(), _cpu()
    report = dataset.reformat_operational_update(workspace, run_id="benchmark", now=START + (hours - 1) * HOUR)
    (commit,) = report.commits
    return Cost(_cpu() - used, time.perf_counter() - started, commit.stats.bytes_in)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _shards(store: Path) -> dict[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and "/c/" in path.as_posix()
    }
