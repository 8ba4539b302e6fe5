"""What turns decoded fields into the values of a variable, unless a dataset says otherwise.

In: one variable over a part of the append dimension, and where a file was read. Out: the same memory, transformed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.field.transforms import (
    deaccumulate_in_place,
    interpolate_in_place,
    round_in_place,
    seconds_since_reset,
)
from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.spec.errors import ImplausibleRate
from reformatters_dagster.core.spec.values import Float32Array, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation

log = logging.getLogger(__name__)

type Steps = npt.NDArray[np.bool_]
"""One flag a step."""


def transform_in_place(
    values: Float32Array,
    data_var: DataVar,
    region_ds: xr.Dataset,
    *,
    between: Steps | None,
    threads: int,
    stats: JobStats,
    label: Timestamp,
) -> None:
    """Deaccumulate, interpolate and round, in that order.

    Parameters
    ----------
    values, region_ds
        As in `RegionHooks.apply_data_transformations`.
    between : (step,) bool, optional
        Steps that the source never has. They are interpolated.
    stats : JobStats
        Told of negative rates.
    label : Timestamp
        First of the region, for the log.
    """
    dims = region_ds[data_var.name].dims
    axis = dims.index("lead_time") if "lead_time" in dims else 0
    # Rates that nothing is made from afterwards are rounded in the same pass over the memory.
    rounds_rates = data_var.deaccumulation is not None and between is None and not data_var.interpolate
    if data_var.deaccumulation is not None:
        with _told_if_implausible(data_var.name, stats, label):
            counts = deaccumulate_in_place(
                values,
                _step_seconds(region_ds, data_var.deaccumulation),
                data_var.deaccumulation,
                axis=axis,
                skip_step=between,
                keep_mantissa_bits=data_var.keep_mantissa_bits if rounds_rates else None,
                threads=threads,
            )
            stats.count_rates(data_var.name, counts.clamped_fraction, counts.invalid_fraction)
    if between is not None:
        interpolate_in_place(values, _but_the_ends(between), axis=axis, threads=threads)
    if data_var.interpolate:
        interpolate_in_place(values, _isolated_missing(region_ds["has_file"], axis), axis=axis, threads=threads)
    if data_var.keep_mantissa_bits is not None and not rounds_rates:
        round_in_place(values, data_var.keep_mantissa_bits, threads=threads)


@contextmanager
def _told_if_implausible(variable: str, stats: JobStats, label: Timestamp) -> Iterator[None]:
    """Rates that cannot be right are written all the same; a check of the store fails because of them."""
    try:
        yield
    except ImplausibleRate as error:
        log.exception("region=%s variable=%s rates are implausible", label, variable)
        stats.implausible[variable] = str(error)


def _step_seconds(region_ds: xr.Dataset, rule: Deaccumulation) -> npt.NDArray[np.float64]:
    """Seconds since the source began to accumulate, for each step."""
    if "lead_time" in region_ds.indexes:
        return pd.TimedeltaIndex(region_ds.get_index("lead_time")).total_seconds().to_numpy()
    return seconds_since_reset(pd.DatetimeIndex(region_ds.get_index("time")), rule.reset)


def _but_the_ends(flagged: Steps) -> Steps:
    """Without the first and the last step, which have one neighbour: they are not written, or they end the archive."""
    inner = flagged.copy()
    inner[[0, -1]] = False
    return inner


def _isolated_missing(has_file: xr.DataArray, axis: int) -> Steps:
    """Steps that no file was read for while both neighbours have one."""
    others = tuple(at for at in range(has_file.ndim) if at != axis)
    missing = ~np.asarray(has_file.to_numpy().any(axis=others), np.bool_)
    isolated = _but_the_ends(missing)
    isolated[1:-1] &= ~missing[:-2] & ~missing[2:]
    return isolated
