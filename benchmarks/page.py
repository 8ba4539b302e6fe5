"""What `reformat report` costs at the real size of a dataset: two partitions of `noaa-gfs-forecast`, of made-up values.

In: a folder. Out: CPU and wall seconds, peak memory and size of the page: with pictures, without, and beside a reference.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from benchmarks.child import ROOT, Memory
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, VariableCoverage, write_ledger
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import MOMENT, Float32Array, Timestamp
from reformatters_dagster.core.store.settings import Settings, Workspace

LABELS = pd.date_range("2026-07-29", periods=2, freq="6h", unit="us")
NOW = LABELS[-1] + pd.Timedelta("7h")
LEADS_PER_INIT = 209
MADE = ("temperature_2m", "precipitation_surface")
"""An instant and a windowed variable, at the first label. All other shards are links to those of one of them."""
WAYS: dict[str, tuple[str, ...]] = {"with pictures": (), "`--no-pictures`": ("--no-pictures",)}


@dataclass(frozen=True)
class Page:
    """What one report cost."""

    cpu: float
    wall: float
    peak: float
    """MB."""
    size: float
    """MB of HTML."""


def measure(folder: Path, say: Callable[[str], object]) -> dict[str, Page]:
    """Write the store unless it is there, and report on it in fresh processes."""
    folder = folder / "page"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        say("a store of two partitions of noaa-gfs-forecast is written")
        make_store(folder)
        (folder / "whole").touch()
    store = next(folder.glob("stores/*/v*.zarr"))
    ways = WAYS | {"with pictures, beside a reference": ("--reference", str(store))}
    found = {}
    for name, options in ways.items():
        say(f"report {name}")
        found[name] = _report(folder, options)
    return found


def _report(folder: Path, options: tuple[str, ...]) -> Page:
    file = folder / "page.html"
    program = "from reformatters_dagster.cli import app; app()"
    arguments = ["report", DATASET.dataset_id, "--now", f"{NOW:%Y-%m-%dT%H:%M}", "--output", str(file), *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REFORMATTERS_")}
    environment |= {f"REFORMATTERS_{name.upper()}": value for name, value in _places(folder).items()}
    cpu, wall = _children(), time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, env=environment)
    with Memory(child.pid) as memory:
        child.wait()
    if child.returncode:
        raise SystemExit(f"report ended with status {child.returncode}; its words are above")
    return Page(_children() - cpu, time.perf_counter() - wall, memory.peak / 1e6, file.stat().st_size / 1e6)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _places(folder: Path) -> dict[str, str]:
    return {name: str(folder / name) for name in ("upstream", "tmp")} | {"store": str(folder / "stores")}


def make_store(folder: Path) -> None:
    """Every variable of two init times at the template's size, the second of which lacks its last five files."""
    (folder / "upstream" / GFS_ARCHIVES[0].folder).mkdir(parents=True)
    dataset = replace(DATASET, template_config=DATASET.template_config.started_at(LABELS[0]))
    workspace = dataset.workspace(Settings(**_places(folder)))
    dataset.initialise(workspace, LABELS[-1] + MOMENT, NOW)
    store = Path(workspace.stores.primary.url)
    for name in MADE:
        _fill(store / name, name == MADE[0])
    for one in dataset.template_config.data_vars:
        _link(store / MADE[one.deaccumulation is not None] / "c", store / one.name / "c")
    for label in LABELS:
        _tell_ledger(dataset, workspace, label, lost=5 * (label == LABELS[-1]))


def _fill(path: Path, is_instant: bool) -> None:
    """Write the first label of a variable shard by shard: a smooth field that moves with lead time, and noise."""
    array = zarr.open_array(path, mode="r+")
    assert array.shards is not None
    random = np.random.default_rng(len(path.name))
    shards = [-(-most // size) for most, size in zip(array.shape[2:], array.shards[2:], strict=True)]
    for row, column in np.ndindex(*shards):
        places = [slice(at * size, (at + 1) * size) for at, size in zip((row, column), array.shards[2:], strict=True)]
        lat, lon = (np.arange(most)[place] for most, place in zip(array.shape[2:], places, strict=True))
        array[0, :, places[0], places[1]] = _values(random, array.shape[1], lat, lon, is_instant)


def _values(
    random: np.random.Generator, leads: int, lat: np.ndarray, lon: np.ndarray, is_instant: bool
) -> Float32Array:
    turned = lon[None, None, :] / 40 + np.arange(leads)[:, None, None] / 24 + lat[None, :, None] / 30
    values = np.asarray(np.sin(turned, dtype=np.float32) * np.sin(lat * np.pi / 720)[None, :, None], np.float32)
    values += random.standard_normal(values.shape, np.float32) * np.float32(0.05)
    values = values * np.float32(20) if is_instant else np.maximum(values, 0) * np.float32(1e-3)
    # As the mantissas of a real store are rounded: shards have a real size.
    return np.asarray((values.view(np.uint32) & np.uint32(0xFFFF_0000)).view(np.float32))


def _link(made: Path, other: Path) -> None:
    shards = [path for path in made.glob("0/**/*") if path.is_file()]
    for number, shard in product(range(len(LABELS)), shards):
        target = other / str(number) / shard.relative_to(made / "0")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(shard)


def _tell_ledger(dataset: DynamicalDataset, workspace: Workspace, label: Timestamp, lost: int) -> None:
    template = dataset.template_config
    keys = [f"gfs.{label:%Y%m%d/%H}/atmos/gfs.t{label:%H}z.pgrb2.0p25.f{at:03d}" for at in range(LEADS_PER_INIT)]
    missing = tuple(
        MissingFile(file=key, labels="", reason=f"SourceFileMissing: {key!r} is not there")
        for key in keys[LEADS_PER_INIT - lost :]
    )
    coverage = VariableCoverage(expected=LEADS_PER_INIT, succeeded=LEADS_PER_INIT - lost, missing=missing)
    write_ledger(
        workspace.stores.internal,
        LedgerEntry(
            partition=partition_key(label),
            dataset_id=template.dataset_id,
            version=template.dataset_version,
            region=(label, label),
            variables=dict.fromkeys(template.variables, coverage),
            etags=dict.fromkeys(keys[: LEADS_PER_INIT - lost], "0" * 34),
            extent=(LABELS[0], label),
            template_hash="0" * 16,
            code_version="0",
            run_id="0" * 32,
            written_at=label + pd.Timedelta("5h"),
        ),
    )
