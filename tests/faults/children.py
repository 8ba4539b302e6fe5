"""What the processes of fault tests do: the command line over a small dataset, and readers of what it publishes."""

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import dataset_defs
from reformatters_dagster.cli import app
from reformatters_dagster.core.field.transforms import deaccumulate_in_place, round_in_place
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.ledger.lease import LeaseTerms
from reformatters_dagster.core.store.stores import open_store
from tests.datasets import INIT, PRIMARY, RAIN, ROWS, TEMPERATURE, gfs_forecast, gfs_key

ID = "test-gfs-forecast"
STORE = f"{ID}/v0.1.0.zarr"
VARIABLES = (TEMPERATURE, RAIN)
"""One of the first step and one that the first step has not: two groups of files."""
IMPATIENT = LeaseTerms(time_to_live=0.3, heartbeat=15.0, look_again=0.1)
"""A killed run's lease is taken over soon, and no heartbeat comes between the puts of a run."""


def prepare() -> None:
    """Register the small dataset in the place of the real ones; `TEST_TEMPLATES` names the folder of its template."""
    dataset = gfs_forecast(Path(os.environ["TEST_TEMPLATES"]), variables=VARIABLES)
    vars(dataset_defs)["DATASETS"] = (replace(dataset, lease_terms=IMPATIENT),)
    _load_kernels(Path(os.environ["TEST_SAMPLE"]))


def _load_kernels(sample: Path) -> None:
    """Let numba load what it has compiled, which takes a second. Nothing here may use obstore, whose threads no fork has."""
    found = (sample / PRIMARY / gfs_key(INIT, 1)).read_bytes()
    decode(found[: int.from_bytes(found[8:16])])
    values = np.zeros((1, 3, 2, 2), np.float32)
    rule = ROWS[RAIN].deaccumulation
    assert rule is not None
    deaccumulate_in_place(values, np.arange(3, dtype=np.float64) * 3600, rule, axis=1)
    round_in_place(values, 7)


def reformat(*arguments: str) -> None:
    """The command line; `TEST_LEASE` has other terms of leases than `IMPATIENT`."""
    if "TEST_LEASE" in os.environ:
        time_to_live, heartbeat, look_again = map(float, os.environ["TEST_LEASE"].split(","))
        terms = LeaseTerms(time_to_live=time_to_live, heartbeat=heartbeat, look_again=look_again)
        vars(dataset_defs)["DATASETS"] = tuple(replace(one, lease_terms=terms) for one in dataset_defs.DATASETS)
    app(arguments)


def update_job() -> Any:
    """The dataset's update as a job of Dagster."""
    from reformatters_dagster.orchestration.build import build_definitions

    (dataset,) = dataset_defs.DATASETS
    return build_definitions([dataset]).resolve_job_def(dataset.job_name("update"))


def materialize(label: str) -> None:
    """The update of a partition as a run of the instance at `DAGSTER_HOME`; one that was killed is executed again from there."""
    import dagster as dg

    job, tags = dg.reconstructable(update_job), {"dagster/partition": label}
    with dg.DagsterInstance.get() as instance:
        options = None
        for killed in instance.get_runs(limit=1):
            instance.report_run_failed(killed)
            options = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
        config = {"ops": {"test__gfs_forecast": {"config": {"publish": True}}}}
        result = dg.execute_job(job, instance, run_config=config, tags=tags, reexecution_options=options)
        raise SystemExit(0 if result.success else 1)


def read_on(base: str, stop: str, report: str) -> None:
    """Open a store over and over until a file appears; tell how often, and everything that was ever seen.

    The report has `reads`, `errors`, and `seen`: every distinct mapping of label to digest.
    """
    reads, errors, seen = 0, set[str](), dict[str, Any]()
    while not Path(stop).exists():
        try:
            view = digests(base)
        except Exception as error:
            errors.add(f"{type(error).__name__}: {error}")
            view = {}
        reads += 1
        seen[json.dumps(view)] = view
        time.sleep(0.05)
    Path(report).write_text(json.dumps({"reads": reads, "errors": sorted(errors), "seen": list(seen.values())}))


def digests(base: str) -> dict[str, str]:
    """What a reader sees: each init time with a digest of every value that belongs to it."""
    ds: xr.Dataset = xr.open_zarr(open_store(base, STORE).reader(), chunks=None, decode_timedelta=True).load()
    return {str(label): _digest(ds.isel(init_time=i)) for i, label in enumerate(ds.indexes["init_time"])}


def _digest(ds: xr.Dataset) -> str:
    names = sorted(map(str, ds.variables))
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + ds[name].to_numpy().tobytes())
    return digest.hexdigest()[:16]
