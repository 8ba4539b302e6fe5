"""Whether the newest fields are like the fields before them, as a check.

In: a published store. Out: a CheckResult. The bounds are wide: weather, seasons and the time of day are no drift, and the check
stays silent where it cannot tell drift from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.sampling import sampled_columns
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.check.wording import listed, text_of
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar

WINDOW, CHUNKS, LEAST = 30, 4, 4
"""How many labels before the newest are compared with it, in how many chunks beside its own, and how many there must be."""
STEADY = 5.0
"""Between the least and the most of a figure that says something about the next."""
OTHER_SPREAD, OTHER_AMOUNT = 50.0, 200.0
LIKE, STILL_LIKE, UNLIKE = 0.8, 0.5, 0.2
"""Correlations of one field with the next."""
QUANTA = 8
"""Steps of the rounded mantissa that a field varies by, if it can be told from a flat one."""


class CheckStatsDrift(Validator):
    """Fields of the newest label are not flat, in other units or in other places than those of the labels before.

    Of each variable one column of chunks is read as by `CheckRecentNans`, at the newest label and up to 30 before it, as far
    as they lie in the newest chunks: five chunks with all their lead times at most, about what `CheckRecentNans` reads. Only
    lead times that the newest label has count. A failure is a WARN.

    Notes
    -----
    Told of a variable are constants, unless at an end of what was seen or is possible. Of one that begins at 0 (rain, radiation,
    cloud cover) a mean 200 times as much or as little in the same places; it may come from nowhere, and go. Of any other (wind,
    temperature, pressure) a mean beyond all that was seen and a tenth of what is possible away, a spread 50 times as wide or
    narrow, and a field that does not look like the one before where all others did: mirrored, shifted, or something else. Not
    told is what differs no more than weather does from one label to the next.
    """

    name: str = "stats_drift"
    sampled_chunks: int = Field(default=1, ge=1)
    """Columns of chunks read of each variable."""

    def check(self, opened: OpenedStore, now: Timestamp) -> CheckResult:  # noqa: ARG002
        drifts: list[str] = []
        measured = 0
        for data_var in opened.data_vars if opened.labels.size > LEAST else ():
            if data_var.name in opened.ds:
                fields = _fields(opened, data_var, self.sampled_chunks)
                measured += any(len(of_column) > LEAST for of_column in fields)
                found = (drift_of(data_var, of_column) for of_column in fields)
                drifts += [f"{data_var.name!r} {drift}" for drift in found if drift is not None][:1]
        metadata: dict[str, float | int | str] = {"variables_drifted": len(drifts), "variables_measured": measured}
        if not drifts:
            message = f"{measured} variables of the newest {opened.append_dim} are like those before"
            if not measured:
                message = f"no variable has as many as {LEAST} labels before the newest to be compared with"
            return CheckResult(name=self.name, passed=True, message=message, metadata=metadata)
        message = (
            f"at {opened.append_dim} {text_of(opened.labels[-1])} {listed(drifts, '; ')}; compare with the source, whose units, "
            "grid or fields may have changed"
        )
        return CheckResult(name=self.name, passed=False, severity="WARN", message=message, metadata=metadata)


@dataclass(frozen=True)
class FieldStats:
    """What is compared of one label of a variable."""

    mean: float
    spread: float
    low: float
    high: float
    pattern: npt.NDArray[np.float64]
    """Mean over lead times and members of each point, in one row; NaN where there is no value."""

    @classmethod
    def of(cls, values: npt.NDArray[np.float32]) -> "FieldStats | None":
        """Of (..., y, x) values of a label; None where all are NaN."""
        fields = values.reshape(-1, values.shape[-2] * values.shape[-1])
        known = ~np.isnan(fields)
        if not known.any():
            return None
        found = fields[known].astype(np.float64)
        counts = known.sum(axis=0)
        sums = np.where(known, fields, 0).sum(axis=0, dtype=np.float64)
        pattern = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
        return cls(float(found.mean()), float(found.std()), float(found.min()), float(found.max()), pattern)


def drift_of(data_var: DataVar, fields: Sequence[FieldStats]) -> str | None:
    """What is odd about the last of some fields, in words."""
    if len(fields) <= LEAST:
        return None
    *earlier, newest = fields
    seen = min(one.low for one in earlier), max(one.high for one in earlier)
    told = _flat(data_var, newest, earlier, seen)
    if told is not None or data_var.valid_range is None:
        return told
    if _is_amount(data_var):
        return _other_amount(data_var, newest, earlier)
    return _other_values(data_var, newest, earlier, seen) or _elsewhere(newest, earlier)


def _flat(
    data_var: DataVar, newest: FieldStats, earlier: Sequence[FieldStats], seen: tuple[float, float]
) -> str | None:
    """A constant; rain, radiation and shares are 0, or at an end of their range, for good reasons."""
    edges = {*seen, *(data_var.valid_range or ()), *((0.0,) if _is_amount(data_var) else ())}
    if newest.low < newest.high or newest.low in edges:
        return None
    if min(one.spread for one in earlier) <= QUANTA * _quantum(data_var, newest.mean, *seen):
        return None
    return f"is {newest.mean:.6g} {data_var.units} everywhere, it was {seen[0]:.6g} to {seen[1]:.6g} before"


def _other_values(
    data_var: DataVar, newest: FieldStats, earlier: Sequence[FieldStats], seen: tuple[float, float]
) -> str | None:
    """Values on both sides of 0, or far from it, in other units or of something else."""
    assert data_var.valid_range is not None
    spreads = [one.spread for one in earlier]
    spread, centre = float(np.median(spreads)), float(np.median([one.mean for one in earlier]))
    width = data_var.valid_range[1] - data_var.valid_range[0]
    margin = (seen[1] - seen[0]) / 4
    is_beyond = newest.mean < seen[0] - margin or newest.mean > seen[1] + margin
    if is_beyond and abs(newest.mean - centre) > max(5 * spread, width / 10):
        return f"has a mean of {newest.mean:.6g} {data_var.units}, values were {seen[0]:.6g} to {seen[1]:.6g} before"
    if _is_steady(spreads) and min(spreads) > QUANTA * _quantum(data_var, *seen):
        factor = newest.spread / spread
        if not 1 / OTHER_SPREAD <= factor <= OTHER_SPREAD:
            return f"varies by {newest.spread:.3g} {data_var.units}, it did by about {spread:.3g} before"
    return None


def _other_amount(data_var: DataVar, newest: FieldStats, earlier: Sequence[FieldStats]) -> str | None:
    """An amount in other units: much more or less of it, and in the same places."""
    means = [one.mean for one in earlier]
    if not _is_steady(means) or _likeness(newest, earlier[-1]) < STILL_LIKE:
        return None
    usual = float(np.median(means))
    if 1 / OTHER_AMOUNT <= newest.mean / usual <= OTHER_AMOUNT:
        return None
    return f"has a mean of {newest.mean:.3g} {data_var.units}, it was about {usual:.3g} before, in the same places"


def _elsewhere(newest: FieldStats, earlier: Sequence[FieldStats]) -> str | None:
    """A field that is mirrored, shifted, or another one: what is not there at times does not change so within a step."""
    before = min(_likeness(one, other) for one, other in pairwise(earlier))
    now = _likeness(newest, earlier[-1])
    if before < LIKE or now >= UNLIKE or newest.low == newest.high:
        return None
    return f"does not look like the label before (correlation {now:.2f}), as those before did ({before:.2f} or more)"


def _is_amount(data_var: DataVar) -> bool:
    """Whether values begin at 0, about, and pile up there."""
    low, high = data_var.valid_range or (-math.inf, math.inf)
    return low <= 0 and -low <= high / 100


def _is_steady(figures: Sequence[float]) -> bool:
    return min(figures) > 0 and max(figures) <= STEADY * min(figures)


def _quantum(data_var: DataVar, *values: float) -> float:
    """About the least step between values that are kept."""
    return max(map(abs, values)) * 2.0 ** -(data_var.keep_mantissa_bits or 23)


def _likeness(one: FieldStats, other: FieldStats) -> float:
    """Correlation of two patterns; UNLIKE, which is taken for neither, where one is flat or there are too few points."""
    known = ~(np.isnan(one.pattern) | np.isnan(other.pattern))
    if known.sum() < 9:
        return UNLIKE
    first, second = one.pattern[known], other.pattern[known]
    scale = first.std() * second.std()
    if scale <= 1e-12 * max(1e-12, abs(first.mean() * second.mean())):
        return UNLIKE
    return float(((first - first.mean()) * (second - second.mean())).mean() / scale)


def _fields(opened: OpenedStore, data_var: DataVar, sampled_chunks: int) -> list[list[FieldStats]]:
    """For each sampled column the fields of the newest label and some before it, oldest first; empty where it has none."""
    array = opened.ds[data_var.name]
    newest, chunk = opened.labels.size - 1, int(array.encoding["chunks"][0])
    first = max(0, newest - WINDOW, (newest // chunk - CHUNKS) * chunk)
    recent = array.isel({opened.append_dim: slice(first, newest + 1)})
    return [_of_column(recent.isel(column)) for column in sampled_columns(opened, array, sampled_chunks)]


def _of_column(block: xr.DataArray) -> list[FieldStats]:
    values = block.to_numpy()
    if "lead_time" in block.dims:
        axis = block.dims.index("lead_time")
        there = ~np.isnan(values[-1]).all(axis=tuple(at for at in range(values.ndim - 1) if at != axis - 1))
        values = np.compress(there, values, axis=axis)
    fields = [FieldStats.of(label) for label in values]
    return [] if fields[-1] is None else [one for one in fields if one is not None]
