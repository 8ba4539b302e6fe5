"""Where a job's region, and the fields of its files, lie along the append dimension.

In: a job's hooks. Out: positions in its template, and the template at such positions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.region import shard_index
from reformatters_dagster.core.spec.values import Timestamp


def region_positions(job: RegionHooks[Any]) -> slice:
    """The region, up to the last label there is."""
    return _up_to_the_last(job, job.region)


def processing_positions(job: RegionHooks[Any]) -> slice:
    """The processing region, up to the last label there is."""
    return _up_to_the_last(job, job.get_processing_region())


def _up_to_the_last(job: RegionHooks[Any], positions: slice) -> slice:
    return slice(positions.start, min(positions.stop, job.template_ds.sizes[job.append_dim]))


def template_at(job: RegionHooks[Any], positions: slice) -> xr.Dataset:
    """The template over some positions."""
    return job.template_ds.isel({job.append_dim: positions})


def shard_of(job: RegionHooks[Any]) -> int:
    """Which shard the region is, along the append dimension."""
    return shard_index(job.region, job.context.template_config.shard_length)


def label_of(job: RegionHooks[Any], coord: SourceFileCoord) -> Timestamp:
    """Label at which a file's fields lie."""
    label = coord.out_loc()[job.append_dim]
    assert isinstance(label, Timestamp)
    return label


def labels_text(coord: SourceFileCoord) -> str:
    """Where a file's fields lie, as the ledger writes it: `init_time=2026-07-29 18:00:00 lead_time=0 days 06:00:00`."""
    return " ".join(f"{dim}={label}" for dim, label in coord.out_loc().items())


def positions_of(job: RegionHooks[Any], coords: Sequence[SourceFileCoord]) -> list[int]:
    """Position of each file's fields along the append dimension, whose labels ascend; -1 where it has no such label."""
    labels = job.template_ds.get_index(job.append_dim).to_numpy()
    wanted = np.array([label_of(job, coord).to_datetime64() for coord in coords], "datetime64[us]")
    last_before = labels.searchsorted(wanted, side="right") - 1
    return [int(at) if at >= 0 and labels[at] == label else -1 for at, label in zip(last_before, wanted, strict=True)]
